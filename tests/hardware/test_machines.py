"""Every machine of hwspecs goes through annotate, simulate, realize and the numpy judge."""

import json

import numpy as np
import pytest

from hago.hardware.load import list_specs, load_spec, spec_digest, spec_to_json
from hago.realize import interpret, realize
from hago.simulate import simulate
from tests.graphs import attention, input_for, quantized, residual_network

MODELS = {"residual": residual_network, "attention": attention}
MACHINES = (
    "arm-dotprod", "arm-i8mm", "cuda-sm75", "cuda-sm80", "cuda-sm90", "gaudi-fp8", "x86-amx",
    "x86-avx2", "x86-avx512", "x86-bf16", "x86-vnni",
)  # fmt: skip


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
def test_a_machine_runs_the_whole_way(name, model):
    module = MODELS[model]()
    inputs = input_for(module)
    quant_model = quantized(module, load_spec(name), inputs)
    assert quant_model.strategy
    simulation = simulate(quant_model.graph)
    arguments = simulation.arguments(quant_model)
    (exact,) = interpret(module, inputs)
    (actual,) = interpret(realize(quant_model), inputs)
    (simulated,) = interpret(simulation.module, {**inputs, **arguments})
    # Realized and simulated round alike; fixed point may be one code off in each layer. Both are
    # far closer to each other than quantization is to float.
    assert np.abs(actual - simulated).max() <= 0.25 * np.abs(exact - simulated).max()


def test_saturating_pairs_get_seven_bit_weights():
    model = quantized(residual_network(), load_spec("x86-avx2"), input_for(residual_network()))
    weights = {str(e): s for e, s in model.strategy.items() if "weight" in e.src}
    assert str(weights["conv2d.weight -> conv2d[1]"].dtype) == "int7"
    worst = 2 * 255 * max(-code for code in weights["conv2d.weight -> conv2d[1]"].dtype.code_range)
    assert worst <= np.iinfo(np.int16).max
