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


def test_without_steps_a_block_is_as_its_layers_are_rounded_in_its_own_stream():
    """Layers that mend the errors of other codes before them would be no place to begin."""
    module = bottleneck()
    layers = AdaRound(steps=30).apply(narrowed(module, 3), stats_of(module))
    found = Brecq(steps=0, layer_steps=30).apply(narrowed(module, 3), stats_of(module))
    for edge, codes in layers.weights.items():
        np.testing.assert_array_equal(found.weights[edge], codes)


def test_a_block_that_learning_makes_worse_stays_as_it_was():
    module = bottleneck()
    before = AdaRound(steps=100).apply(narrowed(module, 3), stats_of(module))
    reckless = Brecq(steps=3, learning_rate=50.0, step_rate=5.0, weight_step_rate=5.0)
    found = reckless.apply(before, stats_of(module))
    for edge, codes in before.weights.items():
        np.testing.assert_array_equal(found.weights[edge], codes)
        np.testing.assert_array_equal(found.quants[edge].scale, before.quants[edge].scale)


def test_it_goes_on_where_ada_round_stopped():
    """The published order: blocks see what layers alone do not (BRECQ, table 1)."""
    module = bottleneck()
    before = AdaRound(steps=150).apply(narrowed(module, 3), stats_of(module))
    found = Brecq(steps=150).apply(before, stats_of(module))
    assert fidelity(found) >= fidelity(before)
