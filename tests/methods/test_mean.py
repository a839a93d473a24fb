"""mean: the mean over samples of their extremes."""

import pytest

from hago.methods.mean import Mean
from tests.methods.dense import covered, quantized, stats_of


def test_one_wild_sample_counts_as_one_of_many():
    stats = stats_of([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0], [-1.0, 9.0])
    model = Mean().apply(quantized(stats), stats)
    # 4 / 255 a step: the zero point moves the ends by half a step at most.
    assert covered(model) == pytest.approx((-1.0, 3.0), abs=4 / 255 / 2)
