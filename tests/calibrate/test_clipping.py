"""Clips by formulas: those of the papers, and the lowest error where there is none."""

import numpy as np
import pytest

from hago.calibrate.clipping import (
    aciq_range,
    best_clip,
    gauss_cost,
    laplace_cost,
    octav_range,
)
from hago.calibrate.observers import TensorObserver
from hago.scheme import INT4, UINT8, DType, QuantScheme

SIGNED = QuantScheme(INT4)
UNSIGNED = QuantScheme(DType("uint", 4), symmetric=False)
COUNT = 400_000


def stats_of(values):
    observer = TensorObserver()
    observer.observe(np.asarray(values, np.float32))
    return observer.stats()


def laplace(seed=0):
    return np.random.default_rng(seed).laplace(size=COUNT)


def normal(seed=0):
    return np.random.default_rng(seed).normal(size=COUNT)


@pytest.mark.parametrize(("bits", "clip"), [(2, 2.83), (3, 3.89), (4, 5.03)])
def test_the_clips_of_laplace_are_those_of_the_paper(bits, clip):
    # Banner et al., arXiv 1810.05723, section 3; printed with two decimals, cut off.
    assert best_clip(laplace_cost, 2**bits) == pytest.approx(clip, abs=0.01)


@pytest.mark.parametrize(("bits", "clip"), [(2, 1.71), (3, 2.15), (4, 2.55)])
def test_the_clips_of_the_normal_distribution_are_those_of_the_paper(bits, clip):
    assert best_clip(gauss_cost, 2**bits) == pytest.approx(clip, abs=0.01)


@pytest.mark.parametrize("cost", [laplace_cost, gauss_cost])
def test_more_steps_clip_less(cost):
    clips = [best_clip(cost, 2**bits) for bits in range(2, 9)]
    assert clips == sorted(clips)


def test_aciq_tells_the_distributions_apart():
    # E|X| of these samples is known to 1/sqrt(COUNT) of it, and a bin is 1/100 wide.
    assert aciq_range(stats_of(laplace()), SIGNED)[1] == pytest.approx(5.03, abs=0.05)
    assert aciq_range(stats_of(normal()), SIGNED)[1] == pytest.approx(2.56, abs=0.03)


def test_aciq_centers_on_the_mean_where_the_scheme_may():
    low, high = aciq_range(stats_of(normal() + 3), UNSIGNED)
    assert (low + high) / 2 == pytest.approx(3, abs=0.03)
    assert high - low == pytest.approx(2 * 2.56, abs=0.05)


@pytest.mark.parametrize("range_of", [aciq_range, octav_range])
def test_one_sign_has_all_the_codes_and_is_clipped_less(range_of):
    both, one = stats_of(laplace()), stats_of(np.maximum(laplace(), 0))
    assert range_of(one, UNSIGNED)[0] == 0
    assert range_of(one, UNSIGNED)[1] > 1.05 * range_of(both, UNSIGNED)[1]


def octav_cost(values, clip, steps):
    inside = np.abs(values) <= clip
    rounding = (2 * clip / steps) ** 2 / 12 * inside.mean()
    return rounding + np.square(np.abs(values[~inside]) - clip).sum() / len(values)


@pytest.mark.parametrize("values", [laplace(1), normal(1)], ids=["laplace", "normal"])
def test_octav_ends_where_the_error_is_lowest(values):
    (_, found), grid = octav_range(stats_of(values), SIGNED), np.linspace(0.5, 8, 200)
    best = min(octav_cost(values, clip, 16) for clip in grid)
    # Flat about the lowest point: half a step of the grid costs less than a thousandth.
    assert octav_cost(values, found, 16) <= best * 1.001


def test_octav_keeps_evenly_spread_values_but_for_a_fraction_of_a_step():
    values = np.random.default_rng(0).uniform(-1, 1, COUNT)
    _, found = octav_range(stats_of(values), QuantScheme(UINT8, symmetric=False))
    assert 1 - 2 / 255 <= found <= 1


@pytest.mark.parametrize("range_of", [aciq_range, octav_range])
def test_nothing_seen_but_zeros_keeps_the_extremes(range_of):
    assert range_of(stats_of(np.zeros(8)), SIGNED) == (0.0, 0.0)
