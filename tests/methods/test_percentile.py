"""percentile: all but the outermost values."""

import numpy as np

from hago.methods.percentile import Percentile
from tests.methods.dense import covered, quantized, stats_of


def test_a_lone_outlier_is_clipped():
    stats = stats_of(np.append(np.linspace(-1, 1, 100_000), 1000.0))
    _, high = covered(Percentile().apply(quantized(stats), stats))
    # Bins are 1001 / 2048 wide, rounded up to 1/2 or 1: the bin that holds 1.0 ends at 2.
    assert 1.0 <= high + 2 / 255 <= 2.0 + 2 / 255


def test_the_numbers_of_weights_stay():
    stats = stats_of([-1.0, 1.0])
    before = quantized(stats)
    after = Percentile().apply(before, stats)
    assert [after.quants[edge] is before.quants[edge] for edge in before.quants] == [
        edge.is_constant for edge in before.quants
    ]
