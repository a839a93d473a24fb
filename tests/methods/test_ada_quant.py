"""AdaQuant moves weights and steps until the layer's output fits."""

import numpy as np
import pytest

from hago.annotate.constants import constant_edges
from hago.methods.ada_quant import AdaQuant
from tests.graphs import attention, residual_network
from tests.methods.narrowed import bottleneck, fidelity, narrowed, nearest_fidelity, stats_of

pytest.importorskip("torch")


def test_without_steps_it_rounds_to_nearest():
    module = bottleneck()
    model = narrowed(module, 4)
    found = AdaQuant(steps=0).apply(model, stats_of(module))
    for edge, weight in constant_edges(model.graph).items():
        np.testing.assert_array_equal(found.weights[edge], model.quants[edge].encode(weight))
    assert all(np.array_equal(found.quants[e].scale, q.scale) for e, q in model.quants.items())


@pytest.mark.parametrize("build", [bottleneck, attention])
def test_outputs_are_nearer_to_the_float_model_than_by_rounding_to_nearest(build):
    module = build()
    found = AdaQuant(steps=200).apply(narrowed(module, 3), stats_of(module))
    assert fidelity(found) > nearest_fidelity(build, 3)


def test_tied_edges_keep_one_set_of_numbers():
    module = residual_network()
    model = AdaQuant(steps=20).apply(narrowed(module, 4), stats_of(module))
    for group in model.graph.tied:
        chosen = [edge for edge in group if edge in model.strategy]
        assert len({float(model.quants[edge].scale) for edge in chosen}) <= 1
