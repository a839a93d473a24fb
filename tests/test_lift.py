"""Products in bfloat16 where 8-bit floats cost the outputs too much."""

from functools import partial

import numpy as np
import pytest
import tvm

import hago
from hago.accuracy import sqnr_db
from hago.calibrate import load_data
from hago.clock import Clock
from hago.hardware.load import load_spec
from hago.lift import lift, lifted_plan
from hago.methods.method import find_methods
from hago.model import input_specs
from hago.pipeline import Options, compile_model, prepared_module
from hago.plan import Quantizer
from hago.realize import interpret, realize
from tests.graphs import input_for, quantized, residual_network
from tests.onnx_models import three_convolutions
from tests.search.stand_ins import network
from tests.search.stand_ins import samples as samples_of_network

SPEC = load_spec("gaudi-fp8")


@pytest.fixture(scope="module")
def case():
    """A model in 8-bit floats, samples, and the noise of its outputs in dB."""
    main = residual_network()["main"]
    module = tvm.IRModule({"main": main.with_attr("hago.input_names", ["x"])})
    samples = [{"x": input_for(module, seed)["x"]} for seed in range(4)]
    model = quantized(module, SPEC, samples[0])
    return model, samples, noise_of(model, samples)


def noise_of(model, samples):
    """Noise over signal power of the outputs, by the reference interpreter."""
    modules = model.graph.module, realize(model)
    pairs = [[interpret(module, sample)[0] for module in modules] for sample in samples]
    return float(np.mean([10 ** (-sqnr_db(*pair) / 10) for pair in pairs]))


def test_what_keeps_the_bound_stays(case):
    model, samples, noise = case
    found, lifts = lift(model, samples, bound=noise * 1.1)
    assert found is model
    assert not lifts


def test_products_are_lifted_until_the_bound_is_kept(case):
    model, samples, noise = case
    found, lifts = lift(model, samples, bound=noise / 2)
    kinds = {str(scheme.dtype) for scheme in found.strategy.values()}
    assert lifts
    assert kinds == {"bfloat16", "float8_e4m3"}  # no more than it takes
    assert noise_of(found, samples) <= noise / 2 * 1.01  # simulated and realized differ in ties


def test_all_are_lifted_where_nothing_is_enough(case):
    model, samples, noise = case
    found, _ = lift(model, samples, bound=0.0)
    assert {str(scheme.dtype) for scheme in found.strategy.values()} == {"bfloat16"}
    assert noise_of(found, samples) < noise / 100  # bfloat16 has 5 bits more than e4m3: 30 dB


def test_compile_lifts_and_says_why_unless_8_bits_are_asked_for(tmp_path, monkeypatch):
    data, model = samples_of_network(), network(tmp_path / "m.onnx")
    monkeypatch.setattr(hago.pipeline, "lifted_plan", partial(lifted_plan, bound=1e-4))
    low = compile_model(model, "gaudi-fp8", data, tmp_path / "low", Options("int8"))
    assert low.precision == "float8"
    report = compile_model(model, "gaudi-fp8", data, tmp_path / "out", Options())
    assert report.precision == "float8-bfloat16"
    assert report.accuracy["sqnr_db"] > low.accuracy["sqnr_db"]
    lifted = [edge for edge in report.edges if edge.chosen == "bfloat16"]
    assert lifted
    assert all("alone leaves the outputs" in edge.reason for edge in lifted)


def test_what_the_recipe_corrected_is_corrected_for_the_layers_that_are_left(tmp_path):
    module = prepared_module(three_convolutions(tmp_path / "m.onnx"), {})
    data = load_data(samples_of_network(), input_specs(module))

    def lifted(recipe):
        """The plan, and what is wrong in the mean of each channel, over what is wrong."""
        quantizer = Quantizer(module, SPEC, data, find_methods(recipe), Clock())
        plan = lifted_plan(next(quantizer.plans("int8")), data, Clock(), bound=2e-3)
        pairs = [[interpret(each, sample)[0] for each in (plan.module, module)] for sample in data]
        errors = np.concatenate([np.subtract(*pair) for pair in pairs]).astype(np.float64)
        means = errors.mean(axis=(0, 2, 3))
        return plan, np.abs(means).max() / errors.std()

    plan, corrected = lifted("mse,bias_correction")
    assert {str(scheme.dtype) for scheme in plan.model.strategy.values()} == {
        "bfloat16", "float8_e4m3",
    }  # fmt: skip
    # The last layer's bias takes the whole mean error over; what is left is float32's rounding.
    assert corrected < 1e-3 < lifted("mse")[1]
