"""power_of_two: scales whose logarithm is whole."""

import numpy as np
import pytest

from hago.methods.method import find_methods
from hago.methods.power_of_two import rounded
from hago.scheme import INT8, PerAxis, QuantScheme, TensorQuant
from tests.methods.dense import DATA, WEIGHT, quantized, stats_of

VALUES = np.random.default_rng(0).normal(size=20_000)
WEIGHTS = np.random.default_rng(1).normal(size=(32, 5)) * [0.1, 0.3, 1, 3, 10]


def applied(recipe="power_of_two", values=VALUES):
    stats = stats_of(values)
    model = quantized(stats, WEIGHTS)
    for method in find_methods(recipe):
        model = method.apply(model, stats)
    return model


def is_power_of_two(scale):
    return np.all(np.log2(scale) == np.rint(np.log2(scale)))


@pytest.mark.parametrize("recipe", ["power_of_two", "mse,weight_mse,power_of_two"])
def test_every_scale_is_one(recipe):
    model = applied(recipe)
    assert all(is_power_of_two(quant.scale) for quant in model.quants.values())


def test_scales_move_by_less_than_a_factor_of_two():
    before, after = quantized(stats_of(VALUES), WEIGHTS), applied()
    for edge in (DATA, WEIGHT):
        factor = after.quants[edge].scale / before.quants[edge].scale
        assert np.all((factor > 0.5) & (factor < 2))
        np.testing.assert_array_equal(
            after.quants[edge].zero_point, before.quants[edge].zero_point
        )


def test_powers_of_two_stay():
    scheme = QuantScheme(INT8, PerAxis(1))
    quant = TensorQuant(scheme, np.array([0.25, 2.0], np.float32), np.zeros(2, np.int32))
    found = rounded(quant, lambda each: each.scale)
    np.testing.assert_array_equal(found.scale, quant.scale)


def test_a_lone_outlier_is_clipped_and_a_full_range_is_not():
    scheme = QuantScheme(INT8)
    quant = TensorQuant(scheme, np.float32(0.9 / 128), np.int32(0))  # between 2^-8 and 2^-7

    def scale_for(values):
        def error(each):
            return np.square(each.decode(each.encode(values)) - values).sum()

        return float(rounded(quant, error).scale)

    spread = np.linspace(-0.9, 0.9, 1000, dtype=np.float32)
    crowd = np.append(np.random.default_rng(0).normal(0, 0.1, 9999), 0.51).astype(np.float32)
    assert scale_for(spread) == 2**-7
    assert scale_for(crowd) == 2**-8
