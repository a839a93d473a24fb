"""Weights with a scale for each group run as integer products, one a group."""

import numpy as np

from hago.accuracy import sqnr_db
from hago.dataflow import read_dataflow
from hago.hardware.host import host_spec
from hago.lower.callable import compile_callable
from hago.realize import insert_qdq, interpret, realize
from hago.realize.split_groups import split_groups
from tests.graphs import attention, input_for
from tests.methods.narrowed import narrowed

MODULE = attention()
MODEL = narrowed(MODULE, 4, group=4)
DATA = input_for(MODULE)


def integer_products(module):
    return [n for n in read_dataflow(module).nodes if n.op == "matmul" and n.dtype == "int32"]


def test_the_sum_of_the_products_is_the_product():
    qdq = insert_qdq(MODEL)
    (expected,), (actual,) = interpret(qdq, DATA), interpret(split_groups(qdq), DATA)
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


def test_each_group_is_one_integer_product():
    products = integer_products(realize(MODEL))
    grouped = [node for node in products if 1 in node.constants]
    assert [node.constants[1].shape for node in grouped] == [(4, 8)] * 8
    assert all(node.constants[1].dtype == np.int8 for node in grouped)


def test_the_compiled_module_gives_what_the_integers_mean():
    realized = realize(MODEL)
    (expected,) = interpret(realized, DATA)
    (actual,) = compile_callable(realized, host_spec())(DATA).values()
    assert sqnr_db(expected, actual) > 40


def test_a_module_without_groups_stays_as_it_is():
    qdq = insert_qdq(narrowed(MODULE, 4))
    assert split_groups(qdq) is qdq
