"""scaled_copies: copies go where scaling alone would make weights grow."""

import numpy as np
import pytest

from hago.annotate.narrow import MACHINE_FORMAT
from hago.calibrate.channels import ChannelObserver
from hago.dataflow import read_dataflow
from hago.methods.channel_splitting import spend
from hago.methods.os_plus import WeightNoise, best_scale, predicted_error
from hago.methods.scaled_copies import best_copies
from hago.prepare.split_channels import Split, split_channels
from tests.graphs import all_values
from tests.methods.encoder import HIDDEN, feed_forward, texts

EXTRA = 3
# Channel 5 reaches furthest, but its weights are small; of channel 9 they are the largest.
REACH, WEIGHT = np.ones(HIDDEN), np.ones(HIDDEN)
REACH[[5, 9]], WEIGHT[[5, 9]] = (12.0, 8.0), (0.05, 3.0)


def seen(reach=REACH):
    observer = ChannelObserver()
    observer.observe(np.random.default_rng(0).uniform(-1, 1, size=(4096, HIDDEN)) * reach)
    return observer.stats()


def noise(weight=WEIGHT):
    """Of the product that reads the hidden layer, its rows ``weight`` times as large."""
    down = read_dataflow(feed_forward()).by_name()["down"]
    of_own = WeightNoise.of(down, MACHINE_FORMAT)
    power, largest = of_own.power * weight**2, of_own.largest * weight[:, None]
    return [WeightNoise(power, largest, 1, False, True, of_own.levels, HIDDEN)]


def test_the_copies_are_of_what_scaling_cannot_pay_for():
    found = best_copies(seen(), noise(), EXTRA)
    assert found.copies.sum() == HIDDEN + EXTRA
    assert found.copies[9] > found.copies[5]
    assert found.scale[5] > found.scale[9]
    assert spend(seen().reach, 1)[5] == 2  # by reach alone the other one is the first


def test_split_and_scaled_at_once_is_better_than_either():
    stats, weights = seen(), noise()
    scaled = best_scale(stats, weights, gain=1.0)
    by_scales = predicted_error(stats, scaled.shift, scaled.scale, weights)
    assert best_copies(stats, weights, EXTRA).error < by_scales / 1.5


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_few_rows_do_not_make_channels_worth_a_copy(rows):
    observer, weights = ChannelObserver(), noise(np.ones(HIDDEN))
    observer.observe(np.random.default_rng(0).normal(size=(rows, HIDDEN)))
    stats, whole = observer.stats(), np.ones(HIDDEN)
    before = stats.judged(
        lambda seen, other: predicted_error(
            other, np.zeros_like(whole), whole, weights, seen
        )
    )
    found = best_copies(stats, weights, EXTRA)
    assert found is None or found.error > before / 1.5


def test_even_channels_have_nothing_to_split():
    assert best_copies(seen(np.ones(HIDDEN)), noise(np.ones(HIDDEN)), EXTRA) is None


@pytest.mark.parametrize("group", [HIDDEN, 16])
def test_groups_of_inputs_are_told_apart(group):
    (own,) = noise()
    grouped = [WeightNoise(own.power, own.largest, 1, False, True, own.levels, group)]
    assert best_copies(seen(), grouped, EXTRA).error > 0


def test_the_network_computes_the_same():
    found = best_copies(seen(), noise(), EXTRA)
    before = feed_forward()
    split = Split(found.copies, 0.01, found.scale.astype(np.float32))
    after = split_channels(before, {"gelu": split})
    results = [list(all_values(each, texts(1, 0)[0]).values())[-1] for each in (before, after)]
    np.testing.assert_allclose(results[1], results[0], atol=1e-4)
