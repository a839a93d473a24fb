"""coordinate_descent: codes that no change of a single one would make better."""

import numpy as np
import pytest

from hago.methods.coordinate_descent import descend
from hago.methods.obc import round_rows

LOW, HIGH = np.full((2, 5), -7), np.full((2, 5), 7)


@pytest.fixture
def problem():
    random = np.random.default_rng(0)
    rows = random.normal(scale=3, size=(2, 5, 12))
    inputs = random.normal(size=(2, 40, 12)) @ random.normal(size=(2, 12, 12))
    return rows, inputs.transpose(0, 2, 1) @ inputs / 40


def errors(rows, codes, moments):
    off = rows - codes
    return np.einsum("gnk,gkl,gnl->gn", off, moments, off)


def test_no_code_alone_makes_an_error_smaller(problem):
    rows, moments = problem
    found = descend(rows, round_rows(rows, moments, 1e-9, LOW, HIGH), moments, LOW, HIGH, 100)
    least = errors(rows, found, moments)
    for k in range(rows.shape[2]):
        for step in (-1, 1):
            other = found.copy()
            other[:, :, k] = np.clip(other[:, :, k] + step, -7, 7)
            assert np.all(errors(rows, other, moments) >= least - 1e-9)


def test_an_error_never_grows_and_some_fall(problem):
    rows, moments = problem
    codes = round_rows(rows, moments, 1e-9, LOW, HIGH)
    before = errors(rows, codes, moments)
    after = errors(rows, descend(rows, codes, moments, LOW, HIGH, 1), moments)
    assert np.all(after <= before + 1e-9)
    assert after.sum() < before.sum()


def test_codes_keep_to_their_range_and_the_given_ones_stay(problem):
    rows, moments = problem
    codes = np.zeros_like(rows)
    found = descend(10 * rows, codes, moments, LOW, HIGH, 10)
    assert np.abs(found).max() <= 7
    assert not codes.any()


def test_inputs_that_are_independent_are_rounded_to_nearest(problem):
    rows, _ = problem
    unit = np.broadcast_to(np.eye(12), (2, 12, 12))
    found = descend(rows, np.zeros_like(rows), unit, 100 * LOW, 100 * HIGH, 2)
    np.testing.assert_array_equal(found, np.rint(rows))
