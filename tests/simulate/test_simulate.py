"""simulate: one module, every strategy."""

from dataclasses import replace

import numpy as np
import pytest

from hago.annotate.biases import biases_of
from hago.errors import StrategyError
from hago.graph import QuantModel
from hago.realize import insert_qdq, integerize, interpret
from hago.simulate import simulate
from tests.graphs import attention, diffusion_block, input_for, machine, quantized, residual_network

MODELS = {"residual": residual_network, "attention": attention, "diffusion": diffusion_block}


@pytest.mark.parametrize("name", MODELS)
def test_simulate_predicts_realize(name):
    module = MODELS[name]()
    inputs = input_for(module)
    model = quantized(module, machine(), inputs)
    simulation = simulate(model.graph)
    (expected,) = interpret(integerize(insert_qdq(model)), inputs)
    (actual,) = interpret(simulation.module, {**inputs, **simulation.arguments(model)})
    bound = 512 * np.finfo(np.float32).eps * np.abs(expected).max()
    assert np.abs(expected - actual).max() <= bound


def test_biases_of_a_method_take_the_place_of_the_models():
    module = residual_network()
    inputs = input_for(module)
    model = quantized(module, machine(), inputs)
    moved = {bias.edge: bias.value + 0.25 for bias in biases_of(model).values()}
    changed, simulation = replace(model, biases=moved), simulate(model.graph)
    assert moved
    (expected,) = interpret(integerize(insert_qdq(changed)), inputs)
    (actual,) = interpret(simulation.module, {**inputs, **simulation.arguments(changed)})
    (plain,) = interpret(simulation.module, {**inputs, **simulation.arguments(model)})
    bound = 512 * np.finfo(np.float32).eps * np.abs(expected).max()
    assert np.abs(expected - actual).max() <= bound
    assert np.abs(plain - actual).max() > 0.1


@pytest.mark.parametrize("name", MODELS)
def test_the_same_module_is_exactly_the_float_model_when_nothing_is_quantized(name):
    module = MODELS[name]()
    inputs = input_for(module)
    graph = quantized(module, machine(), inputs).graph
    simulation = simulate(graph)
    (expected,) = interpret(module, inputs)
    arguments = simulation.arguments(QuantModel(graph, {}, {}))
    assert np.array_equal(expected, interpret(simulation.module, {**inputs, **arguments})[0])


def test_one_group_at_a_time_needs_no_new_module():
    module = residual_network()
    inputs = input_for(module)
    model = quantized(module, machine(), inputs)
    simulation = simulate(model.graph)
    (exact,) = interpret(module, inputs)
    tied = {edge: group for group in model.graph.tied for edge in group}
    for group in {tied.get(edge, frozenset({edge})) for edge in model.strategy}:
        chosen = {edge: model.strategy[edge] for edge in group}
        alone = QuantModel(model.graph, chosen, {edge: model.quants[edge] for edge in group})
        (changed,) = interpret(simulation.module, {**inputs, **simulation.arguments(alone)})
        assert not np.array_equal(exact, changed), group


def test_tied_edges_with_two_schemes_are_refused():
    model = quantized(residual_network(), machine(), input_for(residual_network()))
    partly = {e: s for e, s in model.strategy.items() if str(e) != "relu -> add_3[0]"}
    with pytest.raises(StrategyError, match="one scheme"):
        simulate(model.graph).arguments(QuantModel(model.graph, partly, model.quants))
