"""Output channels as sums of several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tvm import ir

from hago.dataflow import read_dataflow
from hago.prepare import prepare
from hago.prepare.add_points import Points, add_points, rows_of
from tests.graphs import Builder
from tests.onnx_models import assert_close, normal, run


def dense_network() -> ir.IRModule:
    b = Builder(1, 5, 4)
    return b.done(b.dense("layer", b.input, 20))


def convolution(channels: int = 4, **attrs: int) -> ir.IRModule:
    b = Builder(1, 5, 5, channels)
    return b.done(b.conv("layer", b.input, 20, padding=1, **attrs))


LAYERS: dict[str, Callable[[], ir.IRModule]] = {
    "dense": dense_network,
    "convolution": convolution,
    "strided": lambda: convolution(strides=2),
    "groups": lambda: convolution(groups=2),
    "depthwise": lambda: convolution(channels=20, groups=20),
}


def halves(module: ir.IRModule) -> Points:
    """Channels 3 and 7 of "layer" as a half and the other, 7 as a half and two quarters."""
    rows = rows_of(read_dataflow(module).by_name()["layer"])
    first = rows.copy()
    first[[3, 7]] /= 2
    more = np.stack([rows[3] / 2, rows[7] / 4, rows[7] / 4])
    return Points(first, more, np.array([3, 7, 7]))


@pytest.mark.parametrize("name", LAYERS)
def test_the_result_stays(name: str) -> None:
    before = LAYERS[name]()
    after = prepare(add_points(before, {"layer": halves(before)}))
    shape = [int(extent) for extent in before["main"].params[0].ty.shape]
    values = normal(*shape)
    # Halves and quarters are exact: only the order of at most 36 products in a sum differs.
    for got, expected in zip(run(after, values), run(before, values), strict=True):
        assert_close(got, expected, 36)


def weights_after(name: str) -> list[np.ndarray]:
    module = LAYERS[name]()
    after = add_points(module, {"layer": halves(module)})
    return [n.constants[1] for n in read_dataflow(after).nodes if n.op in ("matmul", "nn.conv2d")]


@pytest.mark.parametrize("name", ["dense", "convolution"])
def test_a_layer_gets_a_few_more_channels_in_whole_vectors(name: str) -> None:
    added, first = sorted(weights_after(name), key=lambda weight: weight.size)
    axis = 1 if name == "dense" else 0
    assert (added.shape[axis], first.shape[axis]) == (16, 20)
    assert np.count_nonzero(np.abs(added).sum(axis=tuple({*range(added.ndim)} - {axis}))) == 3


@pytest.mark.parametrize("name", ["groups", "depthwise"])
def test_where_channels_read_their_own_inputs_each_turn_is_a_layer(name: str) -> None:
    weights = weights_after(name)
    assert len(weights) == 3
    rows = sorted(np.count_nonzero(np.abs(w).sum(axis=(1, 2, 3))) for w in weights)
    assert rows == [1, 2, 20]


def test_rows_count_the_turns_of_their_channel() -> None:
    points = Points(np.ones((9, 2), np.float32), np.ones((4, 2), np.float32),
                    np.array([5, 2, 5, 5]))  # fmt: skip
    assert points.turns.tolist() == [0, 0, 1, 2]


def test_rows_need_a_channel_each() -> None:
    with pytest.raises(ValueError, match="a channel for each"):
        Points(np.ones((9, 2), np.float32), np.ones((4, 2), np.float32), np.array([1]))
