"""Copies of channels that carry a part each."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from hago.dataflow import read_dataflow
from hago.prepare.split_channels import Split, region_of, split_channels
from tests.graphs import Builder
from tests.onnx_models import assert_close, normal, run

COPIES = np.array([1, 3, 1, 1, 2, 1, 1, 1])


def gated(b: Builder, x: relax.Expr, product: object) -> relax.Expr:
    """silu(product + bias) * (another product), of eight channels."""
    sums = b.emit("add", relax.op.add(product("up", x), b.const(8)))
    gate = b.emit("silu", relax.op.nn.silu(sums))
    return b.emit("gated", relax.op.multiply(gate, product("gate", x)))


def dense_network() -> object:
    b = Builder(1, 5, 4)
    hidden = gated(b, b.input, lambda name, x: b.dense(name, x, 8))
    return b.done(b.dense("down", hidden, 6), b.dense("beside", hidden, 3))


def convolutions() -> object:
    b = Builder(1, 5, 5, 4)
    hidden = gated(b, b.input, lambda name, x: b.conv(name, x, 8, padding=1))
    return b.done(b.conv("down", hidden, 6))


@pytest.mark.parametrize("step", [0.0, 0.1])
@pytest.mark.parametrize("scale", [None, 1 + np.arange(8, dtype=np.float32)])
@pytest.mark.parametrize("build", [dense_network, convolutions])
def test_the_result_stays(build: object, scale: np.ndarray | None, step: float) -> None:
    before = build()
    after = split_channels(before, {"gated": Split(COPIES, step, scale)})
    assert read_dataflow(after).by_name()["up"].shape[-1] == 11
    shape = [int(extent) for extent in before["main"].params[0].ty.shape]
    values = normal(*shape)
    for got, expected in zip(run(after, values), run(before, values), strict=True):
        # 9 * 11 products, of factors that are at most a few times as large as the result.
        assert_close(got, expected, 8 * 99)


def test_a_step_of_the_copies_is_many_steps_of_their_sum() -> None:
    split, real = Split(np.array([4]), 1.0), np.linspace(-3, 3, 1001)
    parts = real[:, None] / 4 + split.offsets
    summed = np.rint(parts).sum(axis=1) - split.offsets.sum()
    # Rounding the whole channel to a step of 1 errs by half a step at most; a quarter of it
    # rounded to the same step, four times, would err by two.
    assert np.abs(summed - real).max() <= 0.5 + 1e-6


def test_whole_channels_get_no_offset() -> None:
    split = Split(COPIES, 0.1)
    assert split.parts.sum() == pytest.approx(8)
    assert np.flatnonzero(split.offsets[:8]).tolist() == [1, 4]
    assert split.channels.tolist() == [*range(8), 1, 1, 4]


def test_what_another_operation_reads_is_not_split() -> None:
    b = Builder(1, 5, 8)
    hidden = b.emit("relu", relax.op.nn.relu(b.dense("up", b.input, 8)))
    dataflow = read_dataflow(b.done(b.dense("down", hidden, 8), hidden))
    assert region_of(dataflow, dataflow.by_name()["relu"]) == ()


def test_what_no_product_computes_is_not_split() -> None:
    b = Builder(1, 5, 8)
    dataflow = read_dataflow(b.done(b.dense("down", b.emit("relu", relax.op.nn.relu(b.input)), 8)))
    assert region_of(dataflow, dataflow.by_name()["relu"]) == ()


def test_a_layer_between_two_splits_gets_both() -> None:
    b = Builder(1, 5, 8)
    first = b.emit("relu", relax.op.nn.relu(b.dense("one", b.input, 8)))
    second = b.emit("relu_1", relax.op.nn.relu(b.dense("two", first, 8)))
    before = b.done(b.dense("three", second, 8))
    split = Split(COPIES, 0.1)
    after = split_channels(before, {"relu": split, "relu_1": split})
    assert read_dataflow(after).by_name()["two"].constants[1].shape == (11, 11)
    values = normal(1, 5, 8)
    assert_close(run(after, values)[0], run(before, values)[0], 8 * 99)
