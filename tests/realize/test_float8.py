"""8-bit floats from strategy to numpy: codes on edges, products of codes, scales behind sums."""

import numpy as np
import pytest

from hago.accuracy import sqnr_db
from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.dataflow import read_dataflow
from hago.errors import StrategyError
from hago.float8 import decode_float8
from hago.hardware.load import list_specs, load_spec
from hago.hardware.spec import multiplies
from hago.lower.callable import compile_callable
from hago.methods.assign import assign_numbers
from hago.realize import insert_qdq, integerize, interpret, realize
from hago.realize.float8_values import hold_values
from hago.scheme import E4M3
from tests.graphs import Builder, all_values, attention, input_for, residual_network

MODELS = {"residual": residual_network, "attention": attention}
CODES = "float8_e4m3fn"


def in_float8(module, name="cuda-sm90"):
    graph, values = annotate(module, load_spec(name)), all_values(module, input_for(module))
    return assign_numbers(
        graph, choose_strategy(graph, "float8"),
        lambda src, _: (float(values[src].min()), float(values[src].max())), constant_edges(graph),
    )  # fmt: skip


def products(module):
    return [n for n in read_dataflow(module).nodes if n.op in ("nn.conv2d", "matmul")]


def test_a_product_is_of_codes_and_its_scales_multiply_the_sums():
    b = Builder(1, 5, 9)
    module = b.done(b.dense("matmul", b.input, 7))
    real, inputs = realize(in_float8(module)), input_for(module)
    values = all_values(real, inputs)
    nodes = read_dataflow(real).nodes
    (product,) = products(real)
    left, right = (v.view(np.uint8) for v in (values["x_codes"], product.constants[1]))
    sums = decode_float8(left, "float8_e4m3").astype(np.float64) @ decode_float8(
        right, "float8_e4m3"
    )
    assert np.array_equal(values[product.name], sums.astype(np.float32))
    assert [n.op for n in nodes][:3] == ["quantize", "matmul", "multiply"]


@pytest.mark.parametrize("name", MODELS)
def test_products_that_the_machine_has_are_of_codes_and_give_float32(name):
    module = MODELS[name]()
    model = in_float8(module)
    quantized = {edge.dst for edge in model.strategy}
    found = products(realize(model))
    assert sum({str(a.ty.dtype) for a in n.call.args} == {CODES} for n in found) == len(
        [n for n in products(module) if n.name in quantized]
    )
    assert all(node.dtype == "float32" for node in found)


@pytest.mark.parametrize("name", MODELS)
def test_moves_are_of_codes(name):
    nodes = read_dataflow(realize(in_float8(MODELS[name]()))).nodes
    assert [n.dtype for n in nodes if n.op in ("concat", "permute_dims")] == [CODES]


@pytest.mark.parametrize("name", MODELS)
def test_numbers_and_codes_mean_the_same(name):
    """float32 rounds each sum and product by 2^-24, which turns a code at a tie now and then."""
    module = MODELS[name]()
    qdq, inputs = insert_qdq(in_float8(module)), input_for(module)
    (expected,), (actual,) = interpret(qdq, inputs), interpret(integerize(qdq), inputs)
    assert sqnr_db(expected, actual) > 60


@pytest.mark.parametrize("name", MODELS)
def test_held_as_numbers_a_module_means_the_same(name):
    module = MODELS[name]()
    real, inputs = realize(in_float8(module)), input_for(module)
    held = hold_values(real)
    assert not any(CODES in str(arg.ty) for n in products(held) for arg in n.call.args)
    for expected, actual in zip(interpret(real, inputs), interpret(held, inputs), strict=True):
        assert sqnr_db(expected, actual) > 100  # sums of float32 instead of float64


def test_codes_that_a_machine_keeps_stay():
    real = realize(in_float8(residual_network()))
    assert hold_values(real, (CODES,)) is real


def test_kernels_of_the_executable_model_equal_the_reference():
    module = residual_network()
    real, inputs = realize(in_float8(module, "gaudi-fp8")), input_for(module)
    (expected,) = interpret(real, inputs)
    (actual,) = compile_callable(real, load_spec("gaudi-fp8"))(inputs).values()
    assert sqnr_db(expected, actual) > 60  # a code at a tie


def test_machines_without_such_products_refuse():
    able = [name for name in list_specs() if multiplies(load_spec(name), E4M3)]
    assert able == ["cuda-sm89", "cuda-sm90", "cuda-sm90a", "gaudi-fp8"]
    graph = annotate(residual_network(), load_spec("x86-vnni"))
    with pytest.raises(StrategyError, match="x86-vnni cannot compute in float8"):
        choose_strategy(graph, "float8")
