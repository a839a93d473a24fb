"""Codes of few bits behind what only moves them."""

import numpy as np
import pytest
from tvm import relax

from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.annotate.narrow_activations import ActivationFormat, narrow_activations
from hago.dataflow import read_dataflow
from hago.methods.assign import assign_numbers
from hago.realize import interpret, realize
from hago.realize.insert import insert_qdq
from tests.graphs import Builder, all_values, input_for, machine


def moved_network():
    """Two layers with a maximum and a transposition between them."""
    b = Builder(1, 8, 8, 4)
    first = b.emit("relu", relax.op.nn.relu(b.conv("conv2d", b.input, 8, padding=1)))
    pooled = b.emit("pool", relax.op.nn.max_pool2d(first, (2, 2), (2, 2), layout="NHWC"))
    moved = b.emit("moved", relax.op.permute_dims(pooled, [0, 2, 1, 3]))
    return b.done(b.conv("conv2d_1", moved, 8))


def narrowed(module, bits):
    graph = annotate(module, machine())
    strategy = narrow_activations(
        graph, choose_strategy(graph, "int8"), ActivationFormat(bits, ends=True)
    )
    seen = all_values(module, input_for(module))
    return assign_numbers(
        graph, strategy, lambda s, _: (float(seen[s].min()), float(seen[s].max())),
        constant_edges(graph),
    )  # fmt: skip


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_codes_of_any_width_are_rounded_once_and_then_moved(bits):
    ops = [node.op for node in read_dataflow(realize(narrowed(moved_network(), bits))).nodes]
    assert ops.count("quantize") == 2  # of the input, and behind the first layer
    assert "take" not in ops


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_the_integer_network_gives_what_its_roundings_give(bits):
    model = narrowed(moved_network(), bits)
    given = input_for(model.graph.module)
    exact = interpret(insert_qdq(model), given)[0]
    actual = interpret(realize(model), given)[0]
    # Both round the same values to the same codes; sums of float32 differ by their roundings.
    np.testing.assert_allclose(actual, exact, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_no_activation_has_more_codes_than_its_bits(bits):
    module = realize(narrowed(moved_network(), bits))
    values = all_values(module, input_for(module))
    products = [n for n in read_dataflow(module).nodes if n.op == "nn.conv2d"]
    assert products
    for node in products:
        codes = values[node.inputs[0]]
        assert codes.dtype == np.uint8
        assert codes.max() < 2**bits
