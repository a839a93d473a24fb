"""kl: the range whose histogram is nearest."""

import numpy as np

from hago.methods.kl import Kl
from tests.methods.dense import covered, quantized, stats_of


def test_a_long_tail_is_clipped():
    values = np.random.default_rng(0).laplace(size=200_000)
    stats = stats_of(values)
    _, high = covered(Kl().apply(quantized(stats), stats))
    assert 2.0 < high < 0.9 * np.abs(values).max()


def test_evenly_spread_values_keep_most_of_their_range():
    stats = stats_of(np.random.default_rng(0).uniform(-1, 1, 200_000))
    low, high = covered(Kl().apply(quantized(stats), stats))
    assert low < -0.95
    assert high > 0.95
