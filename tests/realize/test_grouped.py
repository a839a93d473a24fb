"""Weights with a scale for each group run as one integer product with an axis of groups."""

from dataclasses import replace

import numpy as np

from hago.accuracy import sqnr_db
from hago.dataflow import read_dataflow
from hago.hardware.host import host_spec
from hago.lower.callable import compile_callable
from hago.lower.grouped import grouped_members
from hago.lower.lower import lower
from hago.lower.view import view_of
from hago.realize import insert_qdq, interpret, realize
from tests.graphs import attention, input_for
from tests.methods.narrowed import narrowed

MODULE = attention()
MODEL = narrowed(MODULE, 4, group=4)
DATA = input_for(MODULE)


def integer_products(module):
    return [n for n in read_dataflow(module).nodes if n.op == "matmul" and n.dtype == "int32"]


def test_the_sum_of_the_products_is_the_product():
    (expected,), (actual,) = interpret(insert_qdq(MODEL), DATA), interpret(realize(MODEL), DATA)
    # Only the order of float32 sums of 8 products differs; a code may change at a tie.
    assert sqnr_db(expected, actual) > 60


def test_weights_are_those_of_the_codes():
    weight = next(edge for edge in MODEL.strategy if edge.dst == "out" and edge.is_constant)
    quant = MODEL.quants[weight]
    codes = quant.encode(read_dataflow(MODULE).by_name()["out"].constants[1])
    qdq = read_dataflow(insert_qdq(MODEL)).by_name()
    groups = [qdq[name] for name in qdq[qdq["out"].inputs[1]].inputs]
    real = [(n.constants[0] * n.constants[1]).astype(np.float32) for n in groups]
    np.testing.assert_array_equal(np.concatenate(real), quant.decode(codes))


def test_the_groups_are_one_integer_product():
    products = integer_products(realize(MODEL))
    grouped = [node for node in products if 1 in node.constants]
    assert [node.constants[1].shape for node in grouped] == [(2, 1, 4, 8)] * 4
    assert all(node.constants[1].dtype == np.int8 for node in grouped)


def test_each_is_one_kernel_with_what_follows():
    realized = realize(MODEL)
    assert len(grouped_members(view_of(realized))) == 4 * 5  # what lies in front of the four sums
    names = [str(var.name_hint) for var in lower(realized, host_spec()).get_global_vars()]
    assert sum(name.startswith("grouped_matmul") for name in names) >= 2
    assert not any(name.startswith(("permute", "sum")) for name in names)


def test_zero_points_of_the_data_are_a_constant_of_each_column():
    realized = read_dataflow(realize(MODEL))
    sums = {node.name for node in realized.nodes if node.op == "sum" and node.dtype == "float32"}
    added = [n for n in realized.nodes if n.op == "add" and n.inputs[0] in sums]
    assert [node.constants[1].shape for node in added] == [(8,)] * 4


def test_the_compiled_module_gives_what_the_integers_mean():
    realized = realize(MODEL)
    (expected,) = interpret(realized, DATA)
    (actual,) = compile_callable(realized, host_spec())(DATA).values()
    assert sqnr_db(expected, actual) > 40


def test_weights_that_floats_are_multiplied_with_are_their_values():
    """Only weights are quantized: nothing is left to be computed on codes."""
    strategy = {edge: scheme for edge, scheme in MODEL.strategy.items() if edge.is_constant}
    model = replace(MODEL, strategy=strategy)
    realized = realize(model)
    assert not integer_products(realized)
    (expected,), (actual,) = interpret(insert_qdq(model), DATA), interpret(realized, DATA)
    assert np.array_equal(actual, expected)
