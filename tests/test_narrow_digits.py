"""The built-in digits with weights of 4 bits keep what float knows."""

import numpy as np
import pytest

from hago.annotate.narrow import WeightFormat
from hago.calibrate import load_data
from hago.clock import Clock
from hago.demo import digits_calibration, digits_model, digits_test
from hago.hardware.host import host_spec
from hago.hardware.load import load_spec
from hago.methods.facts import facts_of
from hago.methods.pick import pick_methods
from hago.model import input_specs, run_on
from hago.pipeline import prepared_module
from hago.plan import Quantizer

pytest.importorskip("torch")

BITS, MACHINE = 4, "x86-avx512"
RECIPE = "best(samples=32,rows=2048)"  # reads less than it would, to be fast


@pytest.fixture(scope="module")
def scores():
    """What the float network and the integer one give for the 1,000 held-out digits."""
    module, spec = prepared_module(digits_model(), {}), load_spec(MACHINE)
    data = load_data(digits_calibration(), input_specs(module))
    picked = pick_methods(RECIPE, facts_of(module, BITS))
    quantizer = Quantizer(module, spec, data, picked.methods, Clock(), WeightFormat(BITS))
    (plan,) = quantizer.plans("int8")
    runs = run_on(module, host_spec()), run_on(plan.module, host_spec())
    images, _ = digits_test()
    return [
        np.concatenate([next(iter(run({"image": image[None]}).values())) for image in images])
        for run in runs
    ]


def test_accuracy_is_within_half_a_point_of_float(scores):
    _, labels = digits_test()
    exact, narrow = (float(np.mean(each.argmax(axis=1) == labels)) for each in scores)
    assert narrow >= exact - 0.005
