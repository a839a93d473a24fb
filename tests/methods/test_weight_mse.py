"""weight_mse: each scale of the weights has the least squared error."""

import numpy as np
import pytest

from hago.methods.weight_mse import WeightMse, best_scales
from hago.scheme import DType, PerAxis, PerGroup, PerTensor, QuantScheme, fill_scheme
from tests.methods.dense import WEIGHT, quantized, stats_of

SHARES = np.linspace(1.0, 0.3, 36)
WEIGHTS = np.random.default_rng(0).standard_t(3, size=(24, 5)).astype(np.float32)
GRANULARITIES = [PerTensor(), PerAxis(1), PerAxis(0), PerGroup(0, 8)]


def error(weight, quant):
    return np.square(quant.decode(quant.encode(weight)) - weight).sum()


@pytest.mark.parametrize("granularity", GRANULARITIES, ids=str)
def test_the_error_at_four_bits_is_below_that_of_the_full_range(granularity):
    scheme = QuantScheme(DType("int", 4), granularity)
    chosen, full = best_scales(WEIGHTS, scheme, SHARES), best_scales(WEIGHTS, scheme, [1.0])
    assert chosen.scale.shape == full.scale.shape
    assert error(WEIGHTS, chosen) < error(WEIGHTS, full)


def test_each_channel_has_the_scale_that_it_would_have_alone():
    scheme = QuantScheme(DType("int", 4), PerAxis(1))
    together = best_scales(WEIGHTS, scheme, SHARES).scale
    for channel, scale in enumerate(together):
        alone = best_scales(WEIGHTS[:, [channel]], scheme, SHARES).scale
        assert alone.tolist() == [scale]


def test_weights_that_are_codes_keep_their_range():
    scheme = QuantScheme(DType("int", 4))
    codes = np.arange(-7, 8, dtype=np.float32)[None]
    assert best_scales(codes, scheme, SHARES).scale == fill_scheme(scheme, -7.0, 7.0).scale


def test_codes_of_other_scales_are_dropped():
    model = quantized(stats_of(np.ones((1, 24))), WEIGHTS)
    stale = model.quants[WEIGHT].encode(WEIGHTS)
    model = type(model)(model.graph, model.strategy, model.quants, {WEIGHT: stale})
    assert WeightMse().apply(model, stats_of(np.ones((1, 24)))).weights == {}
