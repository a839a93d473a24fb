"""GPTQ: what one column's rounding breaks, later columns mend."""

import pytest

from hago.annotate.constants import constant_edges
from hago.methods.gptq import Gptq
from tests.graphs import attention
from tests.methods.narrowed import bottleneck, fidelity, narrowed, nearest_fidelity, stats_of

pytest.importorskip("torch")

@pytest.mark.parametrize("build", [bottleneck, attention])
def test_outputs_are_nearer_to_the_float_model_than_by_rounding_to_nearest(build):
    module = build()
    found = Gptq().apply(narrowed(module, 3), stats_of(module))
    assert fidelity(found) > nearest_fidelity(build, 3)


def test_groups_of_a_column_keep_their_own_scales():
    module = attention()
    model = narrowed(module, 3, group=4)
    found = Gptq().apply(model, stats_of(module))
    assert {model.quants[edge].scale.shape for edge in constant_edges(model.graph)} == {(2, 8)}
    assert fidelity(found) > fidelity(model)
