"""Factors of channels move from one layer into the next."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from hago.dataflow import read_dataflow
from hago.prepare import prepare
from hago.prepare.equalize_layers import equalize_layers, passage
from tests.graphs import Builder
from tests.onnx_models import assert_close, normal, run

op = relax.op
FACTORS = np.float32([1, 2, 0.5, 4, 8, 0.25, 1, 3])
BETWEEN = {
    "nothing": lambda y: y,
    "relu": op.nn.relu,
    "relu6": lambda y: op.clip(y, 0, 6),
    "a clip": lambda y: op.clip(y, -1, 3),
    "leaky relu": lambda y: op.nn.leakyrelu(y, 0.1),
}


def two_layers(function: object, groups: int = 1) -> object:
    b = Builder(1, 5, 5, 4)
    y = b.emit("sum", op.add(b.conv("first", b.input, 8, padding=1), b.const(8)))
    between = b.emit("between", function(y)) if function is not BETWEEN["nothing"] else y
    return prepare(b.done(b.conv("second", between, 8, padding=1, groups=groups)))


def middle(module: object) -> object:
    """The node that the second layer reads."""
    dataflow = read_dataflow(module)
    last = [node for node in dataflow.nodes if node.op == "nn.conv2d"][-1]
    return dataflow, dataflow.by_name()[last.inputs[0]]


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("name", BETWEEN)
def test_the_result_stays(name: str, groups: int) -> None:
    before = two_layers(BETWEEN[name], groups)
    after = prepare(equalize_layers(before, {middle(before)[1].name: FACTORS}))
    values = normal(1, 5, 5, 4)
    (got,), (expected,) = run(after, values), run(before, values)
    # 36 and 72 products; factors of up to 8 cost no bits, for they are undone in the same way.
    assert_close(got, expected, 8 * 108)


def test_the_factor_is_folded_into_the_passage() -> None:
    before = two_layers(BETWEEN["relu"])
    after = prepare(equalize_layers(before, {middle(before)[1].name: FACTORS}))
    ops = [node.op for node in read_dataflow(after).nodes]
    assert ops == [node.op for node in read_dataflow(before).nodes]
    old, new = (read_dataflow(m).nodes[0].constants[1] for m in (before, after))
    np.testing.assert_allclose(new * FACTORS[:, None, None, None], old, rtol=1e-6)


@pytest.mark.parametrize("name", BETWEEN)
def test_the_passage_is_found_through_a_bias_and_what_is_homogeneous(name: str) -> None:
    dataflow, node = middle(two_layers(BETWEEN[name]))
    found = passage(dataflow, node)
    assert found is not None
    assert found.before.op == "nn.conv2d"


def test_there_is_none_through_another_function() -> None:
    assert passage(*middle(two_layers(op.sigmoid))) is None


def test_there_is_none_where_something_else_reads_the_layer() -> None:
    b = Builder(1, 5, 5, 4)
    first = b.conv("first", b.input, 4, padding=1)
    second = b.conv("second", b.emit("relu", op.nn.relu(first)), 4, padding=1)
    module = b.done(b.emit("sum", op.add(first, second)))
    dataflow = read_dataflow(module)
    assert passage(dataflow, dataflow.by_name()["relu"]) is None
