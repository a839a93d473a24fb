"""BRECQ rounds the layers of a block together."""

import numpy as np
import pytest

from hago.annotate.constants import constant_edges
from hago.methods.ada_round import AdaRound
from hago.methods.brecq import Brecq
from tests.graphs import attention
from tests.methods.narrowed import bottleneck, fidelity, narrowed, nearest_fidelity, stats_of

pytest.importorskip("torch")


def test_without_steps_it_rounds_to_nearest():
    module = bottleneck()
    model = narrowed(module, 4)
    found = Brecq(steps=0).apply(model, stats_of(module))
    for edge, weight in constant_edges(model.graph).items():
        np.testing.assert_array_equal(found.weights[edge], model.quants[edge].encode(weight))


@pytest.mark.parametrize("build", [bottleneck, attention])
def test_outputs_are_nearer_to_the_float_model_than_by_rounding_to_nearest(build):
    module = build()
    found = Brecq(steps=150).apply(narrowed(module, 3), stats_of(module))
    assert fidelity(found) > nearest_fidelity(build, 3)


def test_without_steps_it_keeps_the_codes_of_the_method_before():
    module = bottleneck()
    before = AdaRound(steps=30).apply(narrowed(module, 3), stats_of(module))
    found = Brecq(steps=0).apply(before, stats_of(module))
    for edge, codes in before.weights.items():
        np.testing.assert_array_equal(found.weights[edge], codes)
