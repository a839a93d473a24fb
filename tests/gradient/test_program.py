"""The differentiable engine runs whole models: as floats, quantized, many samples at once."""

import importlib

import pytest
from tvm import relax

from hago.accuracy import sqnr_db
from hago.demo import digits_calibration, digits_model
from hago.errors import HagoError, ModelError
from hago.frontend.onnx import import_onnx
from hago.gradient import over_samples, read_program, run_steps
from hago.gradient.fake_quantize import model_hooks
from hago.prepare import prepare
from hago.realize import insert_qdq, interpret
from tests.graphs import attention, input_for, machine, quantized, residual_network
from tests.relax_modules import module

torch = pytest.importorskip("torch")
NETWORKS = pytest.mark.parametrize("build", [residual_network, attention])


def outputs(program, inputs, hooks):
    values = {name: torch.from_numpy(value) for name, value in inputs.items()}
    return run_steps(program.steps.values(), values, hooks)[program.outputs[0]].numpy()


@NETWORKS
def test_a_float_model_gives_what_numpy_gives(build):
    network = build()
    data = input_for(network)
    actual, (expected,) = outputs(read_program(network), data, {}), interpret(network, data)
    assert sqnr_db(expected, actual) > 100  # float32 resolves 144 dB


@NETWORKS
def test_with_the_hooks_of_a_model_it_gives_what_the_qdq_form_means(build):
    network = build()
    data = input_for(network)
    model = quantized(network, machine(), data)
    (expected,) = interpret(insert_qdq(model), data)
    (exact,) = interpret(network, data)
    actual = outputs(read_program(network), data, model_hooks(model))
    # A tie may fall the other way; that is far less than what quantization itself changes.
    assert sqnr_db(expected, actual) > sqnr_db(exact, expected) + 20


@NETWORKS
def test_a_qdq_module_runs_as_it_stands(build):
    network = build()
    data = input_for(network)
    qdq = insert_qdq(quantized(network, machine(), data))
    (expected,) = interpret(qdq, data)
    (exact,) = interpret(network, data)
    actual = outputs(read_program(qdq), data, {})
    assert sqnr_db(expected, actual) > sqnr_db(exact, expected) + 20


@pytest.mark.parametrize("chunk", [None, 2])
def test_many_samples_at_once_give_what_each_gives_alone(chunk):
    network = prepare(import_onnx(digits_model(), {}))
    program = read_program(network)
    samples = digits_calibration()[:3]
    wanted = program.outputs[0]
    together = over_samples(list(program.steps.values()), program.feed(samples), {}, [wanted],
                            chunk)[wanted]  # fmt: skip
    for sample, row in zip(samples, together, strict=True):
        alone = outputs(program, {program.inputs["image"]: sample["image"]}, {})
        assert sqnr_db(alone, row.numpy()) > 100


def test_an_operation_without_gradient_is_named():
    source = module(lambda emit, x: relax.op.cumsum(x, axis=0), (3, 4))
    with pytest.raises(ModelError, match="'cumsum' has no gradient"):
        read_program(source)


def test_a_missing_torch_is_one_clear_error(monkeypatch):
    from hago.gradient import torch as lazy

    def refuse(name, *rest):
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(HagoError, match=r"pip install 'hago\[torch\]'"):
        _ = lazy.float32
