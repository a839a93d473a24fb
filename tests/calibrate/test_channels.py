"""Statistics of channels."""

from itertools import count

import numpy as np
import pytest

from hago.calibrate.channels import ChannelObserver, observe_channels
from hago.calibrate.padding import Look


def test_a_channel_has_its_own_extremes_and_moments():
    observer = ChannelObserver()
    observer.observe(np.float32([[1, -2], [3, 0]]))
    observer.observe(np.float32([[[2, 5]]]))
    stats = observer.stats()
    assert stats.low.tolist() == [1.0, -2.0]
    assert stats.high.tolist() == [3.0, 5.0]
    assert stats.mean.tolist() == [2.0, 1.0]
    assert stats.square.tolist() == [14 / 3, 29 / 3]
    assert stats.reach.tolist() == [3.0, 5.0]


def test_the_halves_make_the_whole():
    values = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    observer = ChannelObserver()
    for sample in values:
        observer.observe(sample)
    whole = observer.stats()
    parts = (
        np.concatenate([values[0, :3], values[1, 3:], values[2, :3]]),
        np.concatenate([values[0, 3:], values[1, :3], values[2, 3:]]),
    )
    found = sorted(half.low.tolist() for half in whole.halves)
    assert found == sorted(part.min(axis=0).tolist() for part in parts)
    assert np.min([half.low for half in whole.halves], axis=0).tolist() == whole.low.tolist()
    assert np.max([half.high for half in whole.halves], axis=0).tolist() == whole.high.tolist()


def test_samples_of_one_row_belong_to_the_halves_in_turns():
    observer = ChannelObserver()
    for number in range(4):
        observer.observe(np.float32([[number]]))
    halves = sorted((half.low[0], half.high[0]) for half in observer.stats().halves)
    assert halves == [(0.0, 2.0), (1.0, 3.0)]


def test_a_single_row_has_nothing_to_be_judged_by():
    observer = ChannelObserver()
    observer.observe(np.float32([[1, -2]]))
    reaches = sorted(half.reach.tolist() for half in observer.stats().halves)
    assert reaches == [[0.0, 0.0], [1.0, 2.0]]


def test_halves_are_shifted_and_sorted_with_the_whole():
    values = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    shift, order = np.array([1.0, -2.0, 0.5]), np.array([2, 0, 1])
    plain, moved = ChannelObserver(), ChannelObserver()
    plain.observe(values)
    moved.observe((values - shift.astype(np.float32))[:, order])
    actual, expected = plain.stats().less(shift).of(order), moved.stats()
    for got, wanted in zip((actual, *actual.halves), (expected, *expected.halves), strict=True):
        for field in ("low", "high", "mean", "square"):
            np.testing.assert_allclose(getattr(got, field), getattr(wanted, field), rtol=1e-5)


@pytest.mark.parametrize(("rows", "taken"), [(512, [0, 3, 6]), (511, list(range(10)))])
def test_samples_are_spread_over_the_data_and_more_of_them_where_they_have_few_rows(rows, taken):
    samples = [{"x": np.full((rows, 1), number, np.float32)} for number in range(10)]
    stats = observe_channels(Look(lambda sample: sample), samples, ["x"], limit=3)
    assert stats["x"].high.tolist() == [max(taken)]
    assert stats["x"].mean.tolist() == [np.mean(taken)]
    assert stats["x"].rows == rows * len(taken)


def test_data_of_unknown_length_is_taken_from_its_start():
    class Endless:
        def __iter__(self):
            return ({"x": np.full((512, 1), number, np.float32)} for number in count())

    stats = observe_channels(Look(lambda sample: sample), Endless(), ["x"], limit=3)
    assert stats["x"].high.tolist() == [2.0]


def test_few_samples_are_all_taken():
    samples = [{"x": np.float32([1, 5])}, {"x": np.float32([2, 4])}]
    stats = observe_channels(Look(lambda sample: sample), samples, ["x"], limit=32)
    assert stats["x"].mean.tolist() == [1.5, 4.5]
