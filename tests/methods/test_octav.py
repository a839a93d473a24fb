"""octav: a clip for the ranges of activations."""

import numpy as np

from hago.methods.octav import Octav
from tests.methods.dense import covered, quantized, stats_of

TAILS = np.random.default_rng(0).laplace(size=400_000)


def test_long_tails_are_clipped():
    stats = stats_of(TAILS)
    low, high = covered(Octav().apply(quantized(stats), stats))
    assert TAILS.min() < low < -5
    assert 5 < high < TAILS.max()


def test_the_numbers_of_weights_stay():
    stats = stats_of(TAILS)
    before = quantized(stats)
    after = Octav().apply(before, stats)
    assert [after.quants[edge] is before.quants[edge] for edge in before.quants] == [
        edge.is_constant for edge in before.quants
    ]
