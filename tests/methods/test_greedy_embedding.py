"""greedy_embedding: tables in 4 bits, each row in the range with the least error."""

import numpy as np
import pytest

import hago
from hago.methods.greedy_embedding import greedy_rows
from hago.pipeline import Options
from tests.methods.lookup import looked_up, table, texts


def error(rows, bins=200, share=0.16):
    return np.square(greedy_rows(rows, bins, share).decode() - rows).sum(axis=1)


def test_a_row_loses_no_more_than_in_the_range_of_its_extremes():
    rows = table()
    extremes, searched = error(rows, share=0.0), error(rows)
    assert np.all(searched <= extremes)
    # Rows of 16 with one value that stands out by half of the range gain by clipping it.
    assert searched[::3].sum() < 0.97 * extremes[::3].sum()


def test_rows_that_the_grid_holds_come_out_exactly():
    grid = np.arange(16, dtype=np.float32)
    rows = np.stack([grid, grid * 0.5 - 3, np.full(16, 0.25, np.float32)])
    np.testing.assert_array_equal(greedy_rows(rows, 200, 0.16).decode(), rows)


def test_no_value_within_the_range_is_off_by_more_than_half_a_step():
    rows = table()
    found = greedy_rows(rows, 200, 0.0)
    half = found.scale.astype(np.float32)[:, None] / 2
    # float16 has 11 bits: the ends of the range may be off by a 2048th of themselves.
    slack = np.abs(rows).max(axis=1, keepdims=True) * 3 / 2048
    assert np.all(np.abs(found.decode() - rows) <= half + slack)


@pytest.mark.parametrize("recipe", ["greedy_embedding", "codebook_embedding"])
def test_an_artifact_with_4_bit_rows_is_smaller_and_gives_nearly_the_same(recipe, tmp_path):
    samples = texts(16, 0)
    found = {}
    for name, methods in {"plain": "mse", "narrow": f"{recipe},mse"}.items():
        options = Options("int8", methods)
        report = hago.compile_model(
            looked_up(table()), "x86-avx2", samples, tmp_path / name, options
        )
        found[name] = report
    # A row of 16 values has 64 bytes; 8 of codes and 4 of numbers, or 32 of values.
    assert found["narrow"].constants["stored"] < 0.65 * found["plain"].constants["stored"]
    # 16 levels over a range of about 4.5 deviations: noise of (4.5/15)^2/12, 21 dB; relu keeps it.
    assert found["narrow"].accuracy["sqnr_db"] > 15
