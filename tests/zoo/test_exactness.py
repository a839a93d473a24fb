"""Compiled kernels write the codes that the reference interpreter computes."""

import pytest

from hago.calibrate import load_data
from hago.clock import Clock
from hago.demo import digits_calibration, digits_model
from hago.frontend.onnx import import_onnx
from hago.hardware.host import host_spec
from hago.hardware.load import load_spec
from hago.methods.facts import facts_of
from hago.methods.pick import pick_methods
from hago.model import input_specs
from hago.pipeline import DEFAULT_RECIPE
from hago.plan import Quantizer
from hago.prepare import prepare
from hago.realize import realize
from tests.graphs import attention, input_for, quantized
from tests.zoo.exactness import (
    Difference,
    assert_exact,
    by_parameter,
    compare_codes,
    tie_bound,
)


@pytest.fixture(scope="module")
def digits():
    """The integer module of the demo network by the default recipe, and samples."""
    samples = digits_calibration()[:24]
    module = prepare(import_onnx(digits_model(), {}))
    data = load_data(samples, input_specs(module))
    methods = pick_methods(DEFAULT_RECIPE, facts_of(module, weight_bits=8)).methods
    quantizer = Quantizer(module, load_spec("x86-vnni"), data, methods, Clock())
    return next(iter(quantizer.plans("int8"))).module, samples


def test_every_code_of_the_digits_network_is_numpys(digits):
    module, samples = digits
    found = compare_codes(module, by_parameter(module, samples[0]))
    assert len(found) > 10
    assert_exact(found)


def test_every_code_of_an_attention_head_is_numpys():
    module = attention()
    inputs = input_for(module)
    model = quantized(module, host_spec(), inputs)
    assert_exact(compare_codes(realize(model), inputs))


def test_a_wrong_code_is_seen():
    exact = Difference("x", 100, 0, 0, 0.0, 200.0)
    assert tie_bound(exact) == 16 * 2.0**-24 * 200
    with pytest.raises(AssertionError):
        assert_exact([Difference("x", 100, 1, 1, 0.01, 200.0)])
