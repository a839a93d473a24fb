"""Streaming histograms: the order and the cut of the data do not matter."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hago.calibrate.histogram import BINS, EMPTY, bin_width

FLOATS = st.floats(-1e6, 1e6, width=32)
PARTS = st.lists(st.lists(FLOATS, min_size=1, max_size=20), min_size=1, max_size=6)


def histogram_of(parts):
    histogram = EMPTY
    for part in parts:
        histogram = histogram.add(np.array(part, np.float32))
    return histogram


@settings(deadline=None)
@given(PARTS, st.randoms())
def test_the_histogram_of_a_stream_is_that_of_the_whole(parts, random):
    whole = histogram_of([list(chain(*parts))])
    random.shuffle(parts)
    streamed = histogram_of(parts)
    assert (streamed.first, streamed.width) == (whole.first, whole.width)
    np.testing.assert_array_equal(streamed.counts, whole.counts)
    assert streamed.zeros == whole.zeros


@settings(deadline=None)
@given(PARTS)
def test_every_value_is_counted_in_the_bin_that_holds_it(parts):
    histogram = histogram_of(parts)
    values = np.array(list(chain(*parts)), np.float64)
    expected, _ = np.histogram(values, histogram.edges)
    # numpy closes the last bin at its upper border; ours is half-open and ends after the maximum.
    np.testing.assert_array_equal(histogram.counts, expected)


@given(FLOATS, FLOATS)
def test_a_range_fits_the_bins_at_the_smallest_width(low, high):
    low, high = sorted((low, high))
    width = bin_width(low, high)
    assert np.floor(high / width) - np.floor(low / width) < BINS


def test_memory_does_not_grow_with_a_growing_range():
    histogram = histogram_of([[10.0**k, -(10.0**k)] for k in range(30)])
    assert len(histogram.counts) <= BINS
    assert histogram.counts.sum() == 60


def test_exact_zeros_are_counted_apart():
    histogram = histogram_of([[0.0, 0.0, 1e-9, 5.0]])
    assert histogram.zeros == 2
    assert histogram.nonzero_counts.sum() == 2


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-30, 1e30])
def test_a_constant_tensor_has_a_histogram(value):
    histogram = histogram_of([[value] * 7])
    assert histogram.counts.tolist() == [7]


def test_no_values_change_nothing():
    assert EMPTY.add(np.zeros(0, np.float32)) is EMPTY
