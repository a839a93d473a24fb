"""The whole network of digits on GPUs that are not there, and the artifact that would go there."""

import numpy as np
import pytest

from hago.demo import digits_calibration, digits_model, digits_test
from hago.pipeline import prepared_module
from tests.cuda.network import codes_on, network_on, quantized
from tests.graphs import input_for, residual_network
from tests.lower.test_narrow_data import narrowed
from tests.zoo.exactness import assert_exact, by_parameter, compare_codes


# Ampere's text is the same as Hopper's: "python -m tests.cuda.network digits" runs it, too.
@pytest.mark.parametrize(
    ("hardware", "precision"), [("cuda-sm75", "int8"), ("cuda-sm90", "float8")]
)
def test_digits_equal_the_reference(hardware, precision, tmp_path):
    module = prepared_module(digits_model(), {})
    plan = quantized(module, hardware, digits_calibration()[:16], precision)
    given = by_parameter(plan.module, {"image": digits_test()[0][:1]})
    found = compare_codes(plan.module, given, codes_on(hardware, tmp_path))
    assert len(found) > 10
    assert_exact(found)


def test_a_network_of_four_bits_equals_the_integer_reference(tmp_path):
    module = narrowed(residual_network(), "cuda-sm80")
    found = compare_codes(module, input_for(module), codes_on("cuda-sm80", tmp_path))
    assert len(found) > 3
    assert_exact(found)


def test_digits_are_read(tmp_path):
    module = prepared_module(digits_model(), {})
    plan = quantized(module, "cuda-sm75", digits_calibration()[:16])
    network = network_on("cuda-sm75", plan.module, tmp_path)
    images, labels = digits_test()
    for image, label in zip(images[:4], labels[:4], strict=True):
        (found,) = network.run(by_parameter(plan.module, {"image": image[None]}))
        assert np.argmax(found) == label
