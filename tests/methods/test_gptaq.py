"""GPTAQ rounds what a layer must be after the quantized layers before it."""

import numpy as np
import pytest

from hago.annotate.constants import constant_edges
from hago.methods.gptaq import Gptaq, corrected
from hago.methods.gptq import Gptq
from hago.methods.layer_rows import LayerRows
from tests.graphs import attention
from tests.methods.narrowed import bottleneck, fidelity, narrowed, nearest_fidelity, stats_of

torch = pytest.importorskip("torch")


def rows_of(exact, quantized):
    return LayerRows(exact, quantized, lambda w: w[None], lambda r: r[0], lambda sums: sums)


def test_inputs_that_lost_half_their_size_get_twice_the_weight():
    exact = torch.randn((1, 500, 6), generator=torch.Generator().manual_seed(0))
    weight = torch.randn((4, 6), generator=torch.Generator().manual_seed(1))
    _, wanted = corrected(rows_of(exact, exact / 2), weight, 0.0)
    np.testing.assert_allclose(wanted[0], 2 * weight.numpy(), rtol=1e-6)


def test_unchanged_inputs_change_nothing():
    exact = torch.randn((1, 50, 6), generator=torch.Generator().manual_seed(0))
    weight = torch.ones((4, 6))
    _, wanted = corrected(rows_of(exact, exact), weight, 0.01)
    np.testing.assert_array_equal(wanted[0], weight.numpy())


@pytest.mark.parametrize("build", [bottleneck, attention])
def test_outputs_are_nearer_to_the_float_model_than_by_rounding_to_nearest(build):
    module = build()
    found = Gptaq().apply(narrowed(module, 3), stats_of(module))
    assert fidelity(found) > nearest_fidelity(build, 3)


def test_a_narrow_depthwise_layer_is_mended_by_the_next():
    """The published order, on a bottleneck with weights of 3 bits (GPTAQ, table 1)."""
    module = bottleneck()
    model, stats = narrowed(module, 3), stats_of(module)
    assert fidelity(Gptaq(shares=0).apply(model, stats)) > fidelity(Gptq().apply(model, stats))


def test_groups_of_weights_keep_their_scales():
    module = attention()
    model = narrowed(module, 4, group=4)
    found = Gptaq().apply(model, stats_of(module))
    assert fidelity(found) > fidelity(model)
    for edge in constant_edges(model.graph):
        if "per group" in str(model.strategy[edge]) and edge in model.quants:
            np.testing.assert_array_equal(found.quants[edge].scale, model.quants[edge].scale)
