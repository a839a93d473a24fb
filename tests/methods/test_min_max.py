"""min_max: the extremes that were seen."""

import pytest

from hago.methods.min_max import MinMax
from tests.methods.dense import covered, quantized, stats_of


def test_no_value_that_was_seen_is_clipped():
    stats = stats_of([-1.0, 2.0], [-3.0, 1.0])
    model = MinMax().apply(quantized(stats), stats)
    # 5 / 255 a step: the zero point moves the ends by half a step at most.
    assert covered(model) == pytest.approx((-3.0, 2.0), abs=5 / 255 / 2)


def test_the_range_contains_zero_so_that_padding_is_exact():
    stats = stats_of([3.0, 4.0])
    assert covered(MinMax().apply(quantized(stats), stats))[0] == 0.0
