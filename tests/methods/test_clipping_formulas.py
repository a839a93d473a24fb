"""aciq and octav: a clip for the ranges of activations."""

import numpy as np
import pytest

from hago.methods.aciq import Aciq
from hago.methods.octav import Octav
from tests.methods.dense import covered, quantized, stats_of

TAILS = np.random.default_rng(0).laplace(size=400_000)


@pytest.mark.parametrize("method", [Aciq(), Octav()], ids=lambda method: method.name)
def test_long_tails_are_clipped(method):
    stats = stats_of(TAILS)
    low, high = covered(method.apply(quantized(stats), stats))
    assert TAILS.min() < low < -5
    assert 5 < high < TAILS.max()


@pytest.mark.parametrize("method", [Aciq(), Octav()], ids=lambda method: method.name)
def test_the_numbers_of_weights_stay(method):
    stats = stats_of(TAILS)
    before = quantized(stats)
    after = method.apply(before, stats)
    assert [after.quants[edge] is before.quants[edge] for edge in before.quants] == [
        edge.is_constant for edge in before.quants
    ]
