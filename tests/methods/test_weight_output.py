"""weight_output: the scales at which rounding hurts the layer's output least."""

import numpy as np
import pytest

from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.methods.obc import Obc
from hago.methods.weight_mse import WeightMse
from hago.methods.weight_output import WeightOutput
from tests.graphs import Builder
from tests.methods.dense import about_zero
from tests.methods.narrowed import narrowed

CHANNELS, TAPS, WIDTH = 32, 9, 80


def depthwise():
    b = Builder(1, 6, 6, CHANNELS)
    return b.done(b.conv("layer", b.input, CHANNELS, padding=1, groups=CHANNELS))


def dense():
    b = Builder(1, 6, 6, WIDTH)
    return b.done(b.conv("layer", b.input, 64, kernel=1))


def moments(groups, length):
    """Of inputs that depend on each other: neighbouring pixels, or channels."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=(groups, length, length)) + 2
    return (mixing @ mixing.transpose(0, 2, 1) / length).astype(np.float32)


def output_error(model, seen):
    """(w - q)^T H (w - q), summed over the channels."""
    ((edge, weight),) = constant_edges(model.graph).items()
    error = (weight - model.quants[edge].decode(model.weights[edge])).astype(np.float64)
    rows = error.reshape(len(seen), -1, seen.shape[1])
    return float(np.einsum("gnk,gkl,gnl->", rows, seen, rows))


CASES = {"depthwise": (depthwise, CHANNELS, TAPS), "dense": (dense, 1, WIDTH)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("bits", [3, 4])
def test_rounding_at_its_scales_keeps_the_output_better_than_at_those_of_the_weights(case, bits):
    build, groups, length = CASES[case]
    seen = moments(groups, length)
    stats, model = Stats({}, 0, moments={"layer": about_zero(seen)}), narrowed(build(), bits)
    ours, theirs = (
        output_error(Obc().apply(scales.apply(model, stats), stats), seen)
        for scales in (WeightOutput(), WeightMse())
    )
    assert ours < theirs


def test_layers_of_unknown_inputs_keep_their_scales():
    model = narrowed(depthwise(), 4)
    found = WeightOutput().apply(model, Stats({}, 0))
    assert found.quants == model.quants


def test_codes_of_other_scales_are_dropped():
    stats = Stats({}, 0, moments={"layer": about_zero(moments(CHANNELS, TAPS))})
    before = Obc().apply(narrowed(depthwise(), 4), stats)
    assert WeightOutput().apply(before, stats).weights == {}
