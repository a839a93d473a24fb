"""AdaRound decides each weight between its two neighbours, by the layer's output."""

import numpy as np
import pytest

from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.errors import DataError
from hago.methods.ada_round import AdaRound
from hago.methods.soft_rounding import SoftRounding
from tests.graphs import attention
from tests.methods.narrowed import bottleneck, fidelity, narrowed, nearest_fidelity, stats_of

pytest.importorskip("torch")


def test_without_steps_it_rounds_to_nearest():
    module = bottleneck()
    model = narrowed(module, 4)
    rounded = AdaRound(steps=0).apply(model, stats_of(module))
    for edge, weight in constant_edges(model.graph).items():
        np.testing.assert_array_equal(rounded.weights[edge], model.quants[edge].encode(weight))


@pytest.mark.parametrize("build", [bottleneck, attention])
def test_outputs_are_nearer_to_the_float_model_than_by_rounding_to_nearest(build):
    module = build()
    rounded = AdaRound(steps=200).apply(narrowed(module, 3), stats_of(module))
    assert fidelity(rounded) > nearest_fidelity(build, 3)


def test_a_code_is_one_of_the_two_neighbours_of_its_weight():
    module = bottleneck()
    model = AdaRound(steps=50).apply(narrowed(module, 3), stats_of(module))
    for edge, weight in constant_edges(model.graph).items():
        quant = model.quants[edge]
        scale, zero_point = quant.spread(weight.shape)
        steps, (low, high) = weight / scale + zero_point, quant.scheme.dtype.code_range
        outside = (steps < low) | (steps > high)
        assert np.all((np.abs(steps - model.weights[edge]) < 1 + 1e-5) | outside)


def test_the_same_seed_gives_the_same_codes():
    module = bottleneck()
    first, second = (
        AdaRound(steps=20).apply(narrowed(module, 4), stats_of(module)).weights for _ in range(2)
    )
    assert all(np.array_equal(first[edge], second[edge]) for edge in first)


def test_without_samples_it_says_what_is_missing():
    module = bottleneck()
    with pytest.raises(DataError, match="ada_round: no calibration data"):
        AdaRound().apply(narrowed(module, 4), Stats({}, 0))


def test_weights_are_decided_before_the_steps_are_over(monkeypatch):
    """What is between two codes at the end is rounded without regard to the others."""
    shares, codes = [], SoftRounding.codes

    def watched(self):
        shares.append(self.share().detach().flatten())
        return codes(self)

    monkeypatch.setattr(SoftRounding, "codes", watched)
    module = bottleneck()
    AdaRound(steps=150).apply(narrowed(module, 3), stats_of(module))
    share = np.concatenate(shares)
    assert np.mean((share > 0.05) & (share < 0.95)) < 0.05
