"""Padding is found by trying what does not matter, and is not counted."""

import numpy as np
import pytest

from hago.calibrate import calibrate
from hago.calibrate.channels import observe_channels
from hago.calibrate.moments import Windows
from hago.calibrate.padding import Look
from hago.calibrate.run import Reader

TABLE = np.float32([[0, 9], [1, -1], [2, 1], [3, -2], [4, 2]])  # by id; 0 pads


def encode(sample):
    """Rows of a table; the result is the mean of those that the mask keeps."""
    rows = TABLE[sample["ids"]]
    kept = sample["mask"].astype(np.float32)[..., np.newaxis]
    return {"rows": rows, "mean": (rows * kept).sum(axis=1) / kept.sum(axis=1)}


def sentence(*ids, length=4):
    padded = np.zeros((1, length), np.int64)
    padded[0, : len(ids)] = ids
    return {"ids": padded, "mask": (np.arange(length) < len(ids)).astype(np.int64)[np.newaxis]}


LOOK = Look(encode, ("mean",))
SAMPLES = [sentence(1, 2), sentence(3, 4, 2)]


def test_masked_positions_are_not_counted():
    stats = calibrate(LOOK, SAMPLES, ["rows"])
    assert stats["rows"].high == 4.0  # 9 is in the row of the padding
    assert stats["rows"].histogram.counts.sum() == 2 * (2 + 3)


def test_channels_leave_masked_positions_out():
    stats = observe_channels(LOOK, SAMPLES, ["rows"])["rows"]
    assert stats.mean.tolist() == [(1 + 2 + 3 + 4 + 2) / 5, (-1 + 1 - 2 + 2 + 1) / 5]


def test_products_leave_masked_positions_out():
    readers = {"matmul": Reader("rows", Windows(1, 2))}
    moments = calibrate(LOOK, SAMPLES, ["rows"], readers=readers).moments["matmul"]
    kept = TABLE[[1, 2, 3, 4, 2]]
    assert np.allclose(moments.second[0], kept.T @ kept / 5)


def test_an_input_that_matters_is_no_mask():
    def run(sample):
        return {"rows": TABLE[sample["ids"]], "mean": TABLE[sample["ids"]].mean(axis=1)}

    assert calibrate(Look(run, ("mean",)), SAMPLES, ["rows"])["rows"].high == 9.0


@pytest.mark.parametrize("mask", [[1, 1, 1, 1], [0, 0, 0, 0], [2, 1, 0, 0]])
def test_a_mask_holds_zeros_and_ones_and_nothing_else(mask):
    calls = []
    sample = {"ids": sentence(1, 2, 3, 4)["ids"], "mask": np.array([mask])}
    Look(lambda s: calls.append(1) or {"mean": np.zeros(1)}, ("mean",))(sample)
    assert len(calls) == 1


def test_without_results_to_watch_everything_is_counted():
    assert calibrate(Look(encode), SAMPLES, ["rows"])["rows"].high == 9.0


def test_a_sample_of_nothing_but_padding_is_counted_whole():
    def run(sample):
        return {"rows": TABLE[sample["ids"]], "mean": np.zeros(1, np.float32)}

    seen = Look(run, ("mean",))(sentence(1, 2))
    assert seen.counted("rows").size == 2 * 2
    unchanged = Look(lambda s: {"rows": TABLE[s["ids"] % 1], "mean": np.zeros(1)}, ("mean",))
    assert unchanged(sentence(1, 2)).counted("rows").size == 4 * 2


def test_statistics_name_the_mask():
    assert calibrate(LOOK, SAMPLES, ["rows"]).mask == "mask"
    assert calibrate(Look(encode), SAMPLES, ["rows"]).mask == ""
