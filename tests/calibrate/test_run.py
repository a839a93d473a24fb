"""Calibration: one pass over the data, statistics of every tensor that was asked for."""

import numpy as np
import pytest

from hago.calibrate import calibrate
from hago.calibrate.padding import Look
from hago.errors import DataError


def double(sample):
    return {"x": sample["x"], "y": 2 * sample["x"]}


def samples(*values):
    return [{"x": np.array([[value, -value]], np.float32)} for value in values]


def test_statistics_cover_all_samples():
    stats = calibrate(Look(double), samples(1, 3), ["x", "y"])
    assert stats.samples == 2
    assert (stats["y"].low, stats["y"].high) == (-6.0, 6.0)
    assert (stats["y"].mean_low, stats["y"].mean_high) == (-4.0, 4.0)
    assert stats["y"].histogram.counts.sum() == 4


def test_only_the_tensors_asked_for_are_observed():
    assert list(calibrate(Look(double), samples(1), ["y"])) == ["y"]


def test_the_data_runs_once():
    calls = []
    calibrate(Look(lambda s: calls.append(1) or double(s)), samples(1, 2, 3), ["x", "y"])
    assert len(calls) == 3


def test_an_activation_that_overflows_is_named_with_its_sample():
    def run(sample):
        with np.errstate(over="ignore"):
            return {"y": sample["x"] * np.float32(1e38)}

    with pytest.raises(DataError, match="calibration sample 1, tensor 'y': inf"):
        calibrate(Look(run), samples(1, 10), ["y"])


def test_data_without_samples_is_an_error():
    with pytest.raises(DataError, match="no samples"):
        calibrate(Look(double), [], ["x"])


def test_methods_may_read_the_samples_again():
    given = samples(1, 2)
    assert list(calibrate(Look(double), given, ["x"]).data) == given
