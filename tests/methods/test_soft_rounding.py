"""Soft rounding: from the float weight to one of its two neighbours."""

import numpy as np
import pytest

from hago.methods.soft_rounding import (
    annealed_beta,
    inverse_rectified_sigmoid,
    rectified_sigmoid,
    regulariser,
    soft_rounding,
)
from hago.scheme import DType, PerAxis, QuantScheme, fill_scheme

torch = pytest.importorskip("torch")

WEIGHT = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
QUANT = fill_scheme(QuantScheme(DType("int", 4), PerAxis(0)), WEIGHT.min(1), WEIGHT.max(1))


@pytest.mark.parametrize(("alpha", "share"), [(-3.0, 0.0), (0.0, 0.5), (3.0, 1.0)])
def test_the_rectified_sigmoid_reaches_its_ends(alpha, share):
    assert rectified_sigmoid(torch.tensor(alpha)).item() == pytest.approx(share, abs=1e-7)


def test_its_inverse_is_one():
    share = torch.linspace(0, 1, 11)
    back = rectified_sigmoid(inverse_rectified_sigmoid(share))
    # sigmoid and logit of single precision: a few units in the last place, times 1.2
    assert torch.allclose(back, share, atol=8 * 2**-23)


def test_weights_start_at_their_float_values():
    soft = soft_rounding(torch.from_numpy(WEIGHT), QUANT).soft().detach().numpy()
    np.testing.assert_allclose(soft, WEIGHT, atol=float(QUANT.scale.max()) * 16 * 2**-22)


@pytest.mark.parametrize("side", [np.floor, np.ceil])
def test_codes_that_were_chosen_before_are_where_it_starts(side):
    """From half way to the float weight, the choice was lost: BRECQ won 1% over AdaRound in a block
    of EfficientNet-Lite0, and 3% from here."""
    low, high = QUANT.scheme.dtype.code_range
    scale, zero_point = QUANT.spread(WEIGHT.shape)
    chosen = np.clip(side(WEIGHT / scale) + zero_point, low, high).astype(np.int8)
    rounding = soft_rounding(torch.from_numpy(WEIGHT), QUANT, chosen)
    np.testing.assert_array_equal(rounding.codes(), chosen)
    away = np.abs(rounding.soft().detach().numpy() - QUANT.decode(chosen)) / scale
    assert away.max() < 0.25


def test_undecided_weights_round_to_nearest():
    codes = soft_rounding(torch.from_numpy(WEIGHT), QUANT).codes()
    np.testing.assert_array_equal(codes, QUANT.encode(WEIGHT))
    assert codes.dtype == np.int8


def test_the_regulariser_is_zero_where_a_weight_is_decided_and_one_half_way():
    assert regulariser(torch.tensor([0.0, 0.5, 1.0]), 2.0).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("progress", "beta"), [(0.1, None), (0.2, 20.0), (0.6, 11.0), (1.0, 2.0)]
)
def test_beta_falls_from_first_to_last_after_the_warm_up(progress, beta):
    found = annealed_beta(progress, 0.2, 20.0, 2.0)
    assert found == (beta if beta is None else pytest.approx(beta, abs=1e-5))
