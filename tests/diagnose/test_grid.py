"""Values against the grid of their codes."""

from __future__ import annotations

import numpy as np
import pytest

from hago.calibrate.histogram import EMPTY
from hago.diagnose.bars import activation_bars, weight_bars
from hago.diagnose.grid import fit_histogram, fit_weight
from hago.scheme import INT8, UINT8, DType, PerAxis, PerGroup, QuantScheme, fill_scheme

ASYMMETRIC = QuantScheme(UINT8, symmetric=False)


def quant_over(low, high, scheme=ASYMMETRIC):
    return fill_scheme(scheme, np.asarray(low), np.asarray(high))


def fit_of(values, quant):
    values = np.asarray(values, np.float32)
    low, high = float(values.min()), float(values.max())
    return fit_histogram(EMPTY.add(values), quant, low, high)


def own_sqnr(values, quant):
    """The definition: power of the values over that of their rounding errors."""
    values = np.asarray(values, np.float32)
    error = quant.decode(quant.encode(values)) - values
    return 10 * np.log10(np.square(values).sum() / np.square(error).sum())


@pytest.mark.parametrize("reach", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("scheme", [ASYMMETRIC, QuantScheme(DType("uint", 4), symmetric=False)])
def test_the_sqnr_is_that_of_encoding_and_decoding(reach, scheme):
    values = np.random.default_rng(0).normal(size=100_000)
    quant = quant_over(-reach * 4, reach * 4, scheme)
    # Bins are narrower than a quarter of a step, or their values taken as even within it: the
    # noise is off by less than a tenth (0.4 dB), most where clipping makes all of it.
    assert fit_of(values, quant).sqnr_db == pytest.approx(own_sqnr(values, quant), abs=0.4)


def test_a_grid_over_all_values_clips_nothing():
    fit = fit_of(np.linspace(-1, 1, 1001), quant_over(-1, 1))
    assert (fit.clipped, fit.clipped_noise) == (0.0, 0.0)
    assert fit.bulk == pytest.approx(1.0, abs=0.01)


def test_what_lies_outside_is_clipped_and_makes_the_noise():
    fit = fit_of([*np.linspace(-1, 1, 990), *[10.0] * 10], quant_over(-1, 1))
    assert fit.clipped == pytest.approx(0.01, abs=1e-3)
    assert fit.clipped_noise > 0.99


def test_one_outlier_leaves_the_bulk_a_small_part_of_the_grid():
    fit = fit_of([*np.linspace(-1, 1, 9999), 100.0], quant_over(-1, 100))
    assert fit.bulk == pytest.approx(2 / 101, abs=0.005)


def test_exact_zeros_cost_nothing():
    values = np.random.default_rng(0).normal(size=1000)
    with_zeros = fit_of([*values, *[0.0] * 9000], quant_over(-4, 4))
    alone = fit_of(values, quant_over(-4, 4))
    assert with_zeros.noise == pytest.approx(alone.noise / 10, rel=1e-6)


def test_the_values_of_a_weight_are_in_steps_of_their_channel():
    weight = np.array([[1.0, 100.0], [-0.5, 127.0]], np.float32)
    scheme = QuantScheme(INT8, PerAxis(1))
    quant = fill_scheme(scheme, weight.min(axis=0), weight.max(axis=0))
    fit = fit_weight(weight, quant, None)
    assert (fit.seen_low, fit.seen_high) == (pytest.approx(-63.5), pytest.approx(127.0))
    assert (fit.step, fit.clipped) == (1.0, 0.0)


def test_the_codes_that_a_method_chose_are_those_that_count():
    weight = np.array([[0.4, 1.0]], np.float32)
    quant = fill_scheme(QuantScheme(INT8), np.asarray(-1.0), np.asarray(1.0))
    codes = quant.encode(weight)
    worse = codes + np.array([[1, 0]], np.int8)
    assert fit_weight(weight, quant, codes).noise < fit_weight(weight, quant, worse).noise


def test_weights_in_groups_have_the_steps_of_their_group():
    weight = np.array([[1.0], [2.0], [10.0], [-20.0]], np.float32)
    scheme = QuantScheme(DType("int", 4), PerGroup(0, 2))
    quant = fill_scheme(scheme, np.array([[1.0], [-20.0]]), np.array([[2.0], [10.0]]))
    fit = fit_weight(weight, quant, None)
    assert (fit.seen_low, fit.seen_high) == (pytest.approx(-7.0), pytest.approx(7.0))


@pytest.mark.parametrize("kind", ["float8_e4m3", "float8_e5m2"])
def test_floats_of_8_bits_are_fitted_too(kind):
    values = np.random.default_rng(0).normal(size=10_000)
    quant = quant_over(-4, 4, QuantScheme(DType(kind, 8)))
    assert fit_of(values, quant).sqnr_db == pytest.approx(own_sqnr(values, quant), abs=0.4)
    assert fit_weight(values.astype(np.float32)[None], quant, None).clipped == 0.0


def test_bars_are_few_and_count_every_value_but_zeros():
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    values[:500] = 0
    bars = activation_bars(EMPTY.add(values))
    assert len(bars.counts) <= 128
    assert sum(bars.counts) == 9500
    assert bars.start <= values.min() <= bars.start + bars.width
    weight = values.reshape(100, 100)
    scheme = QuantScheme(INT8)
    own = weight_bars(weight, fill_scheme(scheme, weight.min(), weight.max()))
    assert sum(own.counts) == 9500
    assert own.start == pytest.approx(-127, abs=1) or own.start > -127


def test_a_tensor_of_zeros_has_no_bars():
    zeros = np.zeros((2, 2), np.float32)
    quant = fill_scheme(QuantScheme(INT8), zeros.min(), zeros.max())
    assert weight_bars(zeros, quant).counts == (0,)
    assert fit_weight(zeros, quant, None).sqnr_db == 200.0
    assert fit_of(zeros, quant_over(0, 0)).sqnr_db == 200.0
