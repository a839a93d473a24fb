"""Every machine of hwspecs goes through annotate, simulate, realize and the numpy judge."""

import json

import numpy as np
import pytest

from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.dataflow import read_dataflow
from hago.demo import digits_calibration, digits_model, digits_test
from hago.frontend.onnx import import_onnx
from hago.graph import QuantModel
from hago.hardware.load import list_specs, load_spec, spec_digest, spec_to_json
from hago.methods.assign import assign_numbers
from hago.prepare import prepare
from hago.realize import interpret, realize
from hago.scheme import E4M3, QuantScheme
from hago.simulate import simulate
from tests.graphs import all_values, input_for, quantized
from tests.hardware.models import MODELS

MACHINES = (
    "arm-dotprod", "arm-i8mm", "arm-neon", "cuda-sm75", "cuda-sm80", "cuda-sm89", "cuda-sm90",
    "cuda-sm90a", "gaudi-fp8", "x86-amx", "x86-avx2", "x86-avx512", "x86-bf16", "x86-vnni",
    "x86-zen4",
)  # fmt: skip


def simulated(model: QuantModel, inputs):
    simulation = simulate(model.graph)
    return interpret(simulation.module, {**inputs, **simulation.arguments(model)})[0]


def products(module):
    return [n for n in read_dataflow(module).nodes if n.op in ("nn.conv2d", "matmul")]


def test_the_machines_are_there():
    assert list_specs() == MACHINES


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_has_a_stable_data_form(name):
    data = json.dumps(spec_to_json(load_spec(name)))
    assert json.loads(data)["name"] == name
    assert spec_digest(load_spec(name)) == spec_digest(load_spec(name))


def test_digests_tell_machines_apart():
    assert len({spec_digest(load_spec(name)) for name in MACHINES}) == len(MACHINES)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("model", MODELS)
def test_realized_and_simulated_agree(name, model):
    module = MODELS[model]()
    inputs = input_for(module)
    quant_model = quantized(module, load_spec(name), inputs)
    (exact,) = interpret(module, inputs)
    (actual,) = interpret(realize(quant_model), inputs)
    predicted = simulated(quant_model, inputs)
    if quant_model.graph.requantize == "float32":
        # Both round in one place; float32 rounds each of at most 512 products and conversions.
        bound = 512 * np.finfo(np.float32).eps * np.abs(exact).max()
    else:
        # One code in each layer, where the quantization itself is off by half a code in each.
        bound = 0.5 * np.abs(exact - predicted).max()
    assert np.abs(actual - predicted).max() <= bound


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("model", MODELS)
def test_products_that_a_machine_has_in_integers_are_in_integers(name, model):
    spec = load_spec(name)
    operators = {row.op for row in spec.ops if row.accum.dtype.is_integer}
    real = realize(quantized(MODELS[model](), spec, input_for(MODELS[model]())))
    expected = {"int32"} if {"conv2d", "matmul", "batch_matmul"} <= operators else {"float32"}
    assert {node.dtype for node in products(real)} == expected


def test_hopper_computes_in_fp8_as_well():
    module = MODELS["transformer block"]()
    inputs = input_for(module)
    graph = annotate(module, load_spec("cuda-sm90"))
    strategy = {
        edge: scheme
        for edge, schemes in graph.choices.items()
        for scheme in schemes
        if scheme.dtype == E4M3
    }
    values = all_values(module, inputs)

    def range_of(src: str, _: QuantScheme) -> tuple[float, float]:
        return float(values[src].min()), float(values[src].max())

    model = assign_numbers(graph, strategy, range_of, constant_edges(graph))
    assert {edge.dst for edge in strategy} >= {"query_dense", "scores", "product", "up", "down"}
    (exact,), (actual,) = interpret(module, inputs), interpret(realize(model), inputs)
    predicted = simulated(model, inputs)
    assert not np.array_equal(exact, actual)
    assert np.abs(actual - predicted).max() <= 0.25 * np.abs(exact - predicted).max()


def ranges_over(module, samples):
    """Smallest and largest float value of every tensor."""
    runs = [all_values(module, sample) for sample in samples]
    arrays = {name: [run[name] for run in runs] for name in runs[0]}
    return {
        name: (min(float(v.min()) for v in found), max(float(v.max()) for v in found))
        for name, found in arrays.items()
        if isinstance(found[0], np.ndarray)
    }


def model_of(module, spec, ranges) -> QuantModel:
    """The int8 (or fp8) model of ``module``."""
    graph = annotate(module, spec)
    strategy = choose_strategy(graph, "int8")
    return assign_numbers(graph, strategy, lambda src, _: ranges[src], constant_edges(graph))


@pytest.fixture(scope="module")
def digits():
    """The network, the ranges of its tensors, test images, and float's answers."""
    module = prepare(import_onnx(digits_model()))
    images = [{"image": image[None]} for image in digits_test()[0][:8]]
    answers = [int(interpret(module, image)[0].argmax()) for image in images]
    return module, ranges_over(module, digits_calibration()[:8]), images, answers


@pytest.mark.parametrize("name", MACHINES)
def test_a_trained_network_keeps_its_answers(name, digits):
    module, ranges, images, answers = digits
    real = realize(model_of(module, load_spec(name), ranges))
    actual = [int(interpret(real, image)[0].argmax()) for image in images]
    # Float is right about 98 of 100 digits: of eight, one may be a close call.
    assert sum(a == e for a, e in zip(actual, answers, strict=True)) >= 7
