"""The whole network of digits on GPUs that are not there, and the artifact that would go there."""

import numpy as np
import pytest

from hago.demo import digits_calibration, digits_model, digits_test
from hago.hardware.load import load_spec
from hago.lower.lower import lower
from hago.pipeline import prepared_module
from hago.realize import interpret
from tests.cuda.network import Network, quantized
from tests.zoo.exactness import by_parameter


# Ampere's text is the same as Hopper's: "python -m tests.cuda.network digits" runs it, too.
@pytest.mark.parametrize("hardware", ["cuda-sm75", "cuda-sm90"])
def test_digits_equal_the_integer_reference(hardware, tmp_path):
    module = prepared_module(digits_model(), {})
    plan = quantized(module, hardware, digits_calibration()[:16])
    network = Network(lower(plan.module, load_spec(hardware)), hardware, tmp_path)
    images, labels = digits_test()
    for image, label in zip(images[:4], labels[:4], strict=True):
        given = by_parameter(plan.module, {"image": image[None]})
        (found,), (meant,) = network.run(given), interpret(plan.module, given)
        # Sums are exact; scores are float32, three operations of rounding away from each other.
        bound = 4 * float(np.finfo(np.float32).eps) * np.abs(meant).max()
        assert np.abs(found - meant).max() <= bound
        assert found.argmax() == label
