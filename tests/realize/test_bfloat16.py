"""bfloat16 from strategy to numpy: casts on edges, products of bfloat16, sums in float32."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from tvm import relax

from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.dataflow import read_dataflow
from hago.errors import StrategyError
from hago.graph import QuantModel
from hago.hardware.host import missing_features
from hago.hardware.load import list_specs, load_spec
from hago.hardware.spec import multiplies
from hago.lower.callable import compile_callable
from hago.methods.assign import assign_numbers
from hago.realize import insert_qdq, integerize, interpret, realize
from hago.scheme import BFLOAT16
from hago.simulate import simulate
from tests.graphs import Builder, all_values, attention, input_for, residual_network

MODELS = {"residual": residual_network, "attention": attention}
ABLE = tuple(name for name in list_specs() if multiplies(load_spec(name), BFLOAT16))
BF16 = np.dtype(ml_dtypes.bfloat16)


def no_range(src, scheme):
    raise AssertionError(f"bfloat16 needs no range of {src}")


def in_bfloat16(module, name="x86-bf16"):
    graph = annotate(module, load_spec(name))
    strategy = choose_strategy(graph, "bfloat16")
    return assign_numbers(graph, strategy, no_range, constant_edges(graph))


def rounded(array):
    return array.astype(BF16).astype(np.float64)


def test_the_machines_with_bfloat16():
    assert ABLE == (
        "arm-i8mm", "cuda-sm80", "cuda-sm89", "cuda-sm90", "cuda-sm90a", "gaudi-fp8",
        "x86-amx", "x86-bf16", "x86-zen4",
    )  # fmt: skip


def test_a_product_is_of_rounded_operands_and_summed_wide():
    b = Builder(1, 5, 9)
    module = b.done(b.dense("matmul", b.input, 7))
    inputs = input_for(module)
    (weight,) = constant_edges(annotate(module, load_spec("x86-bf16"))).values()
    (actual,) = interpret(realize(in_bfloat16(module)), inputs)
    exact = rounded(inputs["x"]) @ rounded(weight)
    assert np.array_equal(actual, exact.astype(np.float32))


@pytest.mark.parametrize("name", MODELS)
def test_every_product_is_of_bfloat16_and_gives_float32(name):
    real = realize(in_bfloat16(MODELS[name]()))
    products = [n for n in read_dataflow(real).nodes if n.op in ("nn.conv2d", "matmul")]
    assert products
    for node in products:
        assert {str(arg.ty.dtype) for arg in node.call.args} == {"bfloat16"}
        assert node.dtype == "float32"


def test_a_tensor_between_kernels_is_stored_once_as_bfloat16():
    values = all_values(realize(in_bfloat16(residual_network())), input_for(residual_network()))
    narrow = [name for name, value in values.items() if value.dtype == BF16]
    # relu has three readers (a convolution, an addition, a concatenation) and one rounded form.
    assert sum(name.startswith("relu") for name in narrow) == 1


def test_concatenation_and_permutation_move_bfloat16():
    residual = read_dataflow(realize(in_bfloat16(residual_network()))).nodes
    heads = read_dataflow(realize(in_bfloat16(attention()))).nodes
    moves = [n for n in (*residual, *heads) if n.op in ("concat", "permute_dims")]
    assert [node.dtype for node in moves] == ["bfloat16", "bfloat16"]


def test_the_largest_of_a_window_is_found_among_bfloat16():
    b = Builder(1, 8, 8, 4)
    first = b.conv("conv2d", b.input, 8, padding=1)
    largest = relax.op.nn.max_pool2d(first, (3, 3), (2, 2), (1, 1, 1, 1), layout="NHWC")
    pool = b.emit("pool", largest)
    module = b.done(b.conv("conv2d_1", pool, 4, kernel=1))
    real = realize(in_bfloat16(module))
    pooled = next(n for n in read_dataflow(real).nodes if n.op == "nn.max_pool2d")
    assert pooled.dtype == "bfloat16"
    qdq = insert_qdq(in_bfloat16(module))
    inputs = input_for(module)
    assert np.array_equal(interpret(qdq, inputs)[0], interpret(real, inputs)[0])


@pytest.mark.parametrize("name", MODELS)
def test_realize_means_what_the_casts_mean(name):
    module = MODELS[name]()
    inputs = input_for(module)
    qdq = insert_qdq(in_bfloat16(module))
    (expected,), (actual,) = interpret(qdq, inputs), interpret(integerize(qdq), inputs)
    # The casts' form sums in float32, the judge in float64. A sum on a tie moves by half a unit
    # of bfloat16 (2^-9), which each later layer of at most 72 products of order 1 carries on.
    assert np.abs(expected - actual).max() <= 2.0**-9 * np.abs(expected).max()


@pytest.mark.parametrize("machine", ABLE)
@pytest.mark.parametrize("name", MODELS)
def test_simulate_predicts_realize(name, machine):
    module = MODELS[name]()
    inputs = input_for(module)
    model = in_bfloat16(module, machine)
    simulation = simulate(model.graph)
    (exact,) = interpret(module, inputs)
    (actual,) = interpret(realize(model), inputs)
    (simulated,) = interpret(simulation.module, {**inputs, **simulation.arguments(model)})
    assert np.abs(actual - simulated).max() <= 0.25 * np.abs(exact - simulated).max()


def test_edges_can_be_int8_and_bfloat16_in_one_simulated_module():
    module = residual_network()
    inputs = input_for(module)
    model = in_bfloat16(module)
    simulation = simulate(model.graph)
    (exact,) = interpret(module, inputs)
    arguments = simulation.arguments(QuantModel(model.graph, {}, {}))
    assert np.array_equal(exact, interpret(simulation.module, {**inputs, **arguments})[0])


@pytest.mark.parametrize("name", MODELS)
def test_kernels_compute_what_numpy_says(name):
    spec = load_spec("x86-bf16")
    missing = missing_features(spec)
    if missing:
        pytest.skip(f"this CPU has no {', '.join(missing)}: bfloat16 kernels cannot run here")
    module = MODELS[name]()
    inputs = input_for(module)
    real = realize(in_bfloat16(module))
    (exact,), (expected,) = interpret(module, inputs), interpret(real, inputs)
    (actual,) = compile_callable(real, spec)(inputs).values()
    # Sums in another order: now and then a tie falls on the other bfloat16.
    assert np.abs(actual - expected).max() <= 0.25 * np.abs(exact - expected).max()


@pytest.mark.parametrize("name", sorted(set(list_specs()) - set(ABLE)))
def test_a_machine_without_bfloat16_is_named_with_those_that_have_it(name):
    graph = annotate(residual_network(), load_spec(name))
    with pytest.raises(StrategyError) as caught:
        choose_strategy(graph, "bfloat16")
    text = str(caught.value)
    assert text.startswith(f"{name} cannot compute in bfloat16")
    assert Path(caught.value.source).stem == name.replace("-", "_")
    assert ", ".join(ABLE) in text


def residual_after_pooling():
    """As in a ResNet's first block: what a pool gives is convolved and added."""
    b = Builder(1, 8, 8, 4)
    first = b.conv("conv2d", b.input, 8, padding=1)
    pool = b.emit("pool", relax.op.nn.max_pool2d(first, (2, 2), (2, 2), layout="NHWC"))
    deep = b.conv("conv2d_1", pool, 8, padding=1)
    return b.done(b.dense("matmul", b.emit("add", relax.op.add(pool, deep)), 4))


@pytest.mark.parametrize("machine", ABLE)
def test_tied_edges_are_in_bfloat16_together_or_not_at_all(machine):
    module = residual_after_pooling()
    inputs = input_for(module)
    model = in_bfloat16(module, machine)
    for group in model.graph.tied:
        assert len({model.strategy.get(edge) for edge in group}) == 1
    (actual,) = interpret(realize(model), inputs)
    simulation = simulate(model.graph)
    (simulated,) = interpret(simulation.module, {**inputs, **simulation.arguments(model)})
    (exact,) = interpret(module, inputs)
    assert np.abs(actual - simulated).max() <= 0.25 * np.abs(exact - simulated).max()
