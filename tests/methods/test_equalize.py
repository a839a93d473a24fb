"""equalize: what rescaled channels cost is recovered exactly."""

import numpy as np
from tvm import relax

from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.annotate.narrow import MACHINE_FORMAT
from hago.calibrate import Stats
from hago.dataflow import read_dataflow
from hago.methods.assign import assign_numbers
from hago.methods.equalize import Equalize, pairs
from hago.prepare import prepare
from hago.prepare.equalize_layers import equalize_layers
from hago.realize import insert_qdq
from hago.realize.interpret import interpret
from tests.graphs import Builder, all_values, machine

op = relax.op
SAMPLES = [np.random.default_rng(seed).normal(size=(1, 8, 8, 4)).astype("float32")
           for seed in range(6)]  # fmt: skip


def bottleneck():
    """Expand, depthwise, project, as in MobileNet: two tensors lie between two layers."""
    b = Builder(1, 8, 8, 4)
    wide = b.emit("clip", op.clip(
        b.emit("a", op.add(b.conv("expand", b.input, 16, kernel=1), b.const(16))), 0, 6))
    deep = b.emit("relu", op.nn.relu(
        b.emit("b", op.add(b.conv("depthwise", wide, 16, padding=1, groups=16), b.const(16)))))
    return prepare(b.done(b.conv("project", deep, 6, kernel=1)))  # fmt: skip


def rescaled(module, spread=6):
    """The same function, its channels scaled by powers of two from 2^-spread to 2^spread."""
    random = np.random.default_rng(7)
    tensors = pairs(annotate(module, machine()))
    factors = {
        name: (2.0 ** random.integers(-spread, spread + 1, 16)).astype(np.float32)
        for name in tensors
    }
    return prepare(equalize_layers(module, factors))


def equalized(module):
    return Equalize().reshape(annotate(module, machine()), {}, MACHINE_FORMAT)


def int8_results(module):
    """Results of the quantized module, with the ranges of the samples."""
    graph = annotate(module, machine())
    seen = [all_values(module, {"x": sample}) for sample in SAMPLES]

    def range_of(src, _):
        return min(float(v[src].min()) for v in seen), max(float(v[src].max()) for v in seen)

    strategy = choose_strategy(graph, "int8")
    model = assign_numbers(graph, strategy, range_of, constant_edges(graph))
    module = insert_qdq(Equalize().apply(model, Stats({}, 0)))
    return np.stack([interpret(module, {"x": sample})[0] for sample in SAMPLES])


def exact_results(module):
    return np.stack([interpret(module, {"x": sample})[0] for sample in SAMPLES])


def test_the_float_model_stays():
    before = bottleneck()
    np.testing.assert_allclose(
        exact_results(equalized(before)), exact_results(before), rtol=1e-4, atol=1e-4
    )


def test_what_rescaled_channels_cost_is_recovered():
    module, exact = bottleneck(), exact_results(bottleneck())

    def error(form):
        return float(np.square(int8_results(form) - exact).mean())

    known, broken, mended = error(equalized(module)), error(rescaled(module)), error(
        equalized(rescaled(module)))  # fmt: skip
    assert broken > 10 * known
    # Both have the same fixed point, reached up to 0.1% of a factor: a code in a few is another.
    assert mended < 1.2 * known


def test_ranges_of_neighbouring_weights_become_equal():
    module = equalized(rescaled(bottleneck()))
    for pair in pairs(annotate(module, machine())).values():
        first = np.abs(pair.before.constants[1]).reshape(16, -1).max(axis=1)
        (after,) = pair.after
        weight = np.abs(after.constants[1])
        second = weight.reshape(16, -1).max(axis=1) if after.call.attrs.groups > 1 else (
            weight.max(axis=(0, 1, 2)))  # fmt: skip
        np.testing.assert_allclose(first, second, rtol=0.02)


def test_equal_layers_are_left_alone():
    module = equalized(bottleneck())
    assert equalized(module) is module


def test_a_channel_without_weights_is_left_alone():
    b = Builder(1, 4)
    zero = relax.const(np.zeros((4, 4), np.float32))
    hidden = b.emit("relu", op.nn.relu(b.emit("zero", op.matmul(b.input, zero))))
    module = b.done(b.dense("last", hidden, 4))
    assert equalized(module) is module
    assert len(read_dataflow(module).nodes) == 4
