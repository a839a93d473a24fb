"""Channels whose order nothing sees but what computes and reads them."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import ir, relax

from hago.dataflow import read_dataflow
from hago.prepare.channel_groups import ChannelGroup, channel_groups, order_channels
from tests.graphs import Builder, residual_network
from tests.onnx_models import assert_close, normal, run

op = relax.op


def shuffled(module: ir.IRModule, seed: int = 0) -> ir.IRModule:
    """``module`` with every group in a random order."""
    random = np.random.default_rng(seed)
    groups = channel_groups(read_dataflow(module))
    return order_channels(module, {group: random.permutation(group.size) for group in groups})


def constants(module: ir.IRModule) -> dict[tuple[str, int], np.ndarray]:
    return {(n.name, arg): v for n in read_dataflow(module).nodes for arg, v in n.constants.items()}


def between(function: object) -> ir.IRModule:
    """Two products with ``function(builder, first result)`` between them, [1, 6, 6, 8]."""
    b = Builder(1, 6, 6, 4)
    between = function(b, b.conv("first", b.input, 8, padding=1))
    return b.done(b.conv("second", between, 6, kernel=1))


def group_of(module: ir.IRModule, name: str) -> ChannelGroup | None:
    found = [group for group in channel_groups(read_dataflow(module)) if name in group.tensors]
    return found[0] if found else None


KEEPING = {
    "nothing": lambda b, x: x,
    "bias": lambda b, x: b.emit("y", op.add(x, b.const(8))),
    "from a constant": lambda b, x: b.emit("y", op.subtract(b.const(1, 1, 1, 8), x)),
    "relu6": lambda b, x: b.emit("y", op.clip(x, 0, 6)),
    "depthwise": lambda b, x: b.conv("y", x, 8, padding=1, groups=8),
    "residual": lambda b, x: b.emit("y", op.add(x, b.conv("other", x, 8, kernel=1))),
    "max pool": lambda b, x: b.emit("y", op.nn.max_pool2d(x, (2, 2), layout="NHWC")),
    "average pool": lambda b, x: b.emit("y", op.nn.avg_pool2d(x, (2, 2), layout="NHWC")),
    "pad": lambda b, x: b.emit("y", op.nn.pad(x, (0, 0, 1, 1, 2, 0, 0, 0))),
    "mean": lambda b, x: b.emit("y", op.mean(x, [1, 2], keepdims=True)),
    "reshape": lambda b, x: b.emit("y", op.reshape(x, (1, 4, 9, 8))),
}
FIXING = {
    "softmax": lambda b, x: b.emit("y", op.nn.softmax(x, axis=-1)),
    "grouped": lambda b, x: b.conv("y", x, 8, kernel=1, groups=2),
    "concat": lambda b, x: b.emit("y", op.concat([x, x], axis=3)),
    "another reshape": lambda b, x: b.emit("y", op.reshape(x, (1, 12, 6, 4))),
    "pad of channels": lambda b, x: b.emit("y", op.nn.pad(x, (0, 0, 0, 0, 0, 0, 1, 1))),
    "mean of channels": lambda b, x: b.emit("y", op.mean(x, [3], keepdims=True)),
    "with the input": lambda b, x: b.emit("y", op.add(x, op.tile(b.input, (1, 1, 1, 2)))),
}


@pytest.mark.parametrize("name", KEEPING)
def test_channels_are_followed_through_what_keeps_them(name: str) -> None:
    module = between(KEEPING[name])
    group = group_of(module, "first")
    assert group is not None
    assert group.size == 8
    assert "second" in [reader.name for reader in group.readers]
    moved, values = shuffled(module), normal(1, 6, 6, 4)
    assert any((constants(moved)[at] != value).any() for at, value in constants(module).items())
    for got, expected in zip(run(moved, values), run(module, values), strict=True):
        assert_close(got, expected, 36 + 72)


@pytest.mark.parametrize("name", FIXING)
def test_what_sees_the_order_keeps_it(name: str) -> None:
    assert group_of(between(FIXING[name]), "first") is None


def test_inputs_and_results_keep_their_order() -> None:
    b = Builder(1, 6, 6, 4)
    module = b.done(b.conv("only", b.input, 8))
    assert not channel_groups(read_dataflow(module))
    assert shuffled(module) is not module
    np.testing.assert_equal(constants(shuffled(module)), constants(module))


def test_a_residual_network_gives_the_same_in_any_order() -> None:
    module, values = residual_network(), normal(1, 8, 8, 4)
    for seed in range(3):
        (got,), (expected,) = run(shuffled(module, seed), values), run(module, values)
        assert_close(got, expected, 36 + 9 + 16 + 64 + 6)
