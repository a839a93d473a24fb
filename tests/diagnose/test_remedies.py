"""From facts to methods: each rule fires on what it is for, and on nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hago.calibrate.observers import TensorObserver
from hago.dataflow import read_dataflow
from hago.diagnose.case import Case, best_range
from hago.diagnose.channels import Spread
from hago.diagnose.grid import fit_histogram, fit_weight
from hago.diagnose.remedies import RULES, remedies_of
from hago.graph import Edge
from hago.methods.method import known_methods
from hago.scheme import INT8, DType, PerAxis, QuantScheme, fill_scheme
from tests.graphs import Builder

FOUR = QuantScheme(DType("uint", 4), symmetric=False)
EDGE, WEIGHT = Edge("relu", "conv2d", 0), Edge("conv2d.weight", "conv2d", 1)


def activation(values, low, high, scheme=FOUR):
    """The case of a tensor of ``values`` whose grid covers [low, high]."""
    observer = TensorObserver()
    observer.observe(np.asarray(values, np.float32))
    stats, quant = observer.stats(), fill_scheme(scheme, np.asarray(low), np.asarray(high))
    fit = fit_histogram(stats.histogram, quant, stats.low, stats.high)
    return Case(EDGE, scheme, None, fit, better_range=best_range(stats, quant))


def weight(bits=8, share=1.0, **facts):
    """The case of a normal weight with a scale for each of 8 outputs, of a share of the range."""
    values = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    scheme = QuantScheme(DType("int", bits), PerAxis(1))
    quant = fill_scheme(scheme, values.min(axis=0) * share, values.max(axis=0) * share)
    return Case(WEIGHT, scheme, None, fit_weight(values, quant, None), **facts)


def methods_of(case, applied=()):
    return [remedy.methods[0] for remedy in remedies_of(case, applied)]


LAPLACE = np.random.default_rng(0).laplace(size=100_000)


def test_a_long_tail_wants_a_smaller_range():
    (remedy,) = remedies_of(activation(LAPLACE, LAPLACE.min(), LAPLACE.max()), ())
    assert remedy.methods == ("mse",)
    assert "99.9% of the values fill" in remedy.fact


def test_a_range_that_is_too_small_clips():
    (remedy,) = remedies_of(activation(LAPLACE, -1, 1), ())
    assert remedy.methods == ("mse",)
    assert "of the values are clipped, which makes" in remedy.fact


def test_the_best_range_needs_no_other():
    case = activation(LAPLACE, LAPLACE.min(), LAPLACE.max())
    low, high = -4.5, 4.5  # near the optimum of 4 bits for a Laplace distribution (ACIQ: 5.03 b)
    assert methods_of(activation(LAPLACE, low, high)) == []
    assert methods_of(case, applied=["mse"]) == []


def test_a_range_that_is_shared_with_others_is_not_for_one_to_change():
    case = activation(LAPLACE, LAPLACE.min(), LAPLACE.max())
    assert methods_of(replace(case, better_range=None, shared=True)) == []


def test_outlying_channels_want_to_be_scaled():
    even = activation(np.linspace(0, 1, 10_000), 0, 1)
    spread = Spread(ratio=60.0, outliers=2, channels=64, gain_db=20.0)
    (remedy,) = remedies_of(replace(even, spread=spread), ())
    assert remedy.methods[0] == "os_plus"
    assert "2 of 64 channels stand out: the largest reaches 60 times" in remedy.fact
    for weak in (replace(spread, gain_db=1.0), replace(spread, outliers=0)):
        assert methods_of(replace(even, spread=weak)) == []


def test_a_weight_of_8_bits_that_is_rounded_to_nearest_wants_a_better_rounding():
    assert methods_of(weight(nearest=True)) == ["obc"]
    assert methods_of(weight(nearest=False)) == []
    assert methods_of(weight(nearest=True), applied=["obc"]) == []


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_few_codes_want_clipping_and_learned_roundings(bits):
    assert methods_of(weight(bits)) == ["weight_output", "gptaq"]
    assert methods_of(weight(bits, share=0.5)) == ["gptaq"]
    learned = remedies_of(weight(bits), ["weight_mse", "weight_output", "gptaq"])
    assert learned[0].methods[0] == "brecq"


@pytest.mark.parametrize(("groups", "methods"), [(8, ["weight_output"]), (1, [])])
def test_a_channel_of_few_weights_wants_a_scale_that_suits_them(groups, methods):
    b = Builder(1, 6, 6, 8)
    module = b.done(b.conv("conv2d", b.input, 8, padding=1, groups=groups))
    node = read_dataflow(module).by_name()["conv2d"]
    assert methods_of(replace(weight(nearest=False), reader=node)) == methods


def test_an_uneven_weight_and_a_shift_are_told_where_there_are_methods_for_them():
    spread = Spread(ratio=40.0, outliers=1, channels=8, gain_db=15.0)
    case = weight(nearest=False, spread=spread, shift=0.6)
    facts = {m: r.fact for r in remedies_of(case, ()) for m in r.methods}
    known = known_methods()
    assert ("equalize" in facts) == ("equalize" in known)
    assert ("bias_correction" in facts) == ("bias_correction" in known)


def test_no_rule_fires_on_a_good_tensor():
    even = activation(np.linspace(0, 1, 10_000), 0, 1, QuantScheme(INT8))
    assert [rule for rule in RULES if rule.fact(even)] == []
