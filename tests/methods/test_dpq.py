"""DPQ: both roundings in one loop, within the range that 4-bit codes can be decoded in."""

import numpy as np
import pytest

from hago.float8 import FORMATS
from hago.hardware.load import load_spec
from hago.methods.assign import weight_range
from hago.methods.dpq import Dpq, Layer
from hago.scheme import E4M3, INT4, PerGroup, QuantScheme, fill_scheme
from tests.graphs import attention
from tests.methods.narrowed import bottleneck, fidelity, narrowed, stats_of

pytest.importorskip("torch")

GROUP = 16
SCHEME = QuantScheme(INT4, PerGroup(0, GROUP), True, E4M3)
PLAIN = Dpq(shares=1, reorder=False)
SEEDS = range(6)


def case(seed, length=64, width=24, mixed=True):
    """Weights [K, N] and the moments of inputs, which are correlated if ``mixed``."""
    random = np.random.default_rng(seed)
    weight = random.normal(size=(length, width)).astype(np.float32)
    weight *= np.exp(random.normal(size=(length, 1)))  # some inputs have larger weights
    inputs = random.normal(size=(500, length)) * np.exp(random.normal(size=length))
    if mixed:
        inputs = inputs @ (np.eye(length) + 0.3 * random.normal(size=(length, length)))
    return weight.astype(np.float32), (inputs.T @ inputs / len(inputs)).astype(np.float32)


def numbers(weight):
    return fill_scheme(SCHEME, *weight_range(weight, SCHEME))


def solve(options, weight, moments):
    return Layer(options, numbers(weight), weight.astype(np.float64), moments).solve()


def value(codes, scale):
    """What the machine decodes of ``codes``, by the scheme's own rule."""
    quant = fill_scheme(SCHEME, np.zeros_like(scale), scale * 7)
    return quant.decode(codes.astype(np.int8))


def lost(weight, moments, real):
    """The power of the error of the outputs."""
    error = (weight - real).astype(np.float64)
    return float(np.einsum("kn,kj,jn->", error, moments, error))


def test_of_independent_inputs_each_is_rounded_to_nearest():
    weight, _ = case(0)
    weight = np.clip(weight, -1.0, 1.0)
    moments = np.eye(len(weight), dtype=np.float32)
    codes, scale = solve(PLAIN, weight, moments)
    spread = np.repeat(scale, GROUP, axis=0)
    assert np.array_equal(codes, np.clip(np.rint(weight / spread), -8, 7))


def test_scales_are_fitted_on_the_rounded_weights():
    """The largest magnitude of a group is an 8-bit float, 7 of its steps."""
    weight, moments = np.full((GROUP, 1), 0.3, np.float32), np.eye(GROUP, dtype=np.float32)
    weight[0] = 1.07  # e4m3 has 1.0 and 1.125
    _, scale = solve(PLAIN, weight, moments)
    assert scale[0, 0] * 7 == pytest.approx(1.125)
    _, scale = solve(Dpq(shares=1, reorder=False, on_floats=True), weight, moments)
    assert scale[0, 0] * 7 == pytest.approx(1.07)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_code_overflows_the_float_that_it_is_computed_in(seed):
    weight, moments = case(seed)
    codes, scale = solve(Dpq(), weight * 1000, moments)
    quant = fill_scheme(SCHEME, np.zeros_like(scale), scale * 7)
    lowest = scale.max() * 8 / quant.common_scale
    assert lowest <= FORMATS["float8_e4m3"].largest
    assert codes.min() >= -8
    assert codes.max() <= 7


def test_whole_groups_are_taken_in_the_order_of_their_power():
    weight, moments = case(0, mixed=False)
    order = Layer(Dpq(), numbers(weight), weight.astype(np.float64), moments)._order()
    power = np.diagonal(moments)
    groups = order.reshape(-1, GROUP) // GROUP
    assert np.array_equal(np.sort(order), np.arange(len(weight)))
    assert all(len(set(group)) == 1 for group in groups)  # nothing to gather when it runs
    largest = power.reshape(-1, GROUP).max(axis=1)[groups[:, 0]]
    assert np.all(np.diff(largest) <= 0)
    assert all(np.all(np.diff(power[part]) <= 0) for part in order.reshape(-1, GROUP))


def total(options, **kind):
    """The lost power over some cases, as a share of what rounding to nearest loses."""
    shares = []
    for seed in SEEDS:
        weight, moments = case(seed, **kind)
        codes, scale = solve(options, weight, moments)
        quant = numbers(weight)
        nearest = lost(weight, moments, quant.decode(quant.encode(weight)))
        shares.append(lost(weight, moments, value(codes, scale)) / nearest)
    return float(np.mean(shares))


def test_the_loop_loses_less_than_rounding_to_nearest():
    assert total(PLAIN) < 0.8


def test_taking_more_power_first_loses_less():
    assert total(Dpq(shares=1)) < total(PLAIN)


def test_fitted_scales_lose_less():
    assert total(Dpq()) < total(Dpq(shares=1))


@pytest.mark.parametrize("build", [bottleneck, attention])
def test_a_network_is_nearer_to_float_than_by_rounding_to_nearest(build):
    module = build()
    model = narrowed(module, 4, load_spec("gaudi-fp8"), group=4)
    found = Dpq().apply(model, stats_of(module))
    assert fidelity(found) > fidelity(model)
    stored = {edge for edge, scheme in model.strategy.items() if scheme.computed_in}
    assert stored
    assert stored == set(found.weights)
