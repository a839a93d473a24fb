"""Sensitivities without and with gradients, against what lowering a group really does."""

from __future__ import annotations

import numpy as np
import pytest

from hago.clock import Clock
from hago.demo import digits_calibration, digits_model
from hago.errors import DataError
from hago.progress import SILENT
from hago.search.alone import EVERY, Pace, measure_alone
from hago.search.cache import Cache
from hago.search.evaluate import capped_noise
from hago.search.goal import Goal
from hago.search.loss import loss_change, rank_correlation
from hago.search.request import Request
from hago.search.sensitivity import find_sensitivity, representatives
from hago.search.subject import build_subject

SAMPLES = 32


def scores(*rows: list[float]) -> list[dict[str, np.ndarray]]:
    return [{"y": np.array([row])} for row in rows]


def test_the_loss_is_that_of_the_float_models_own_answer():
    exact = scores([2.0, 0.0], [0.0, 0.0])
    assert loss_change(exact, exact) == 0
    moved = scores([0.0, 0.0], [0.0, 0.0])
    change = np.log(2) - np.log1p(np.exp(-2.0))
    assert loss_change(moved, exact) == pytest.approx(change**2 / 2)


def test_outputs_that_are_not_finite_are_as_bad_as_can_be():
    assert loss_change(scores([np.nan, 0.0]), scores([1.0, 0.0])) == 1e6


def test_ranks_are_of_all_options_below_float():
    truth = [(0.0, 1.0, 2.0), (0.0, 3.0)]
    assert rank_correlation([(0.0, 10.0, 20.0), (0.0, 30.0)], truth) == pytest.approx(1)
    assert rank_correlation([(0.0, 30.0, 20.0), (0.0, 10.0)], truth) == pytest.approx(-1)
    assert rank_correlation([(0.0, 1.0)], [(0.0, 2.0)]) is None
    with pytest.raises(DataError, match="1 sensitivities for 3 options"):
        rank_correlation([(0.0, 1.0)], truth)


def stood_for(noises: list[float], count: int) -> float:
    chosen, weights = representatives(noises, count)
    assert len(set(chosen)) == len(weights) == min(count, len(noises))
    assert sum(weights) == pytest.approx(1)
    return sum(weight * noises[number] for number, weight in zip(chosen, weights, strict=True))


@pytest.mark.parametrize(
    "noises",
    [
        [2.0] * 32,
        [1e-8] * 20 + [1e-3] + [1e-8] * 11,  # one sample has it all
        [0.1] * 28 + [3.0, 5.0, 7.0, 9.0],
        [1.0, 2.0, 3.0],  # no more than are asked for
    ],
)
def test_a_few_samples_stand_for_all_however_noise_falls_on_them(noises):
    assert stood_for(noises, 8) == pytest.approx(np.mean(noises), rel=1e-3)


def test_noise_that_rises_evenly_from_sample_to_sample_is_told_by_a_few():
    noises = np.random.default_rng(0).permutation(100).tolist()
    # The middles of quarters are off by half a sample at most.
    assert stood_for(noises, 8) == pytest.approx(np.mean(noises), abs=0.5)


def test_what_harms_other_samples_than_most_groups_do_is_not_overlooked():
    """Samples are chosen by the noise of all groups; one may make the same noise on every one."""
    everywhere = [1e-3] * 40
    chosen, weights = representatives([1e-3] * 38 + [1.0, 2.0], 8)
    assert np.dot(weights, [everywhere[number] for number in chosen]) == pytest.approx(1e-3)


@pytest.fixture(scope="module")
def digits():
    """The digits on a machine with int8, paired and not."""
    request = Request(
        digits_model(), "x86-avx2", digits_calibration(), Goal("accuracy", max_latency_ms=1),
        samples=SAMPLES,
    )  # fmt: skip
    return build_subject(request, Clock(SILENT), lambda identity: None)


@pytest.fixture(scope="module")
def predicted(digits):
    """By group and option, from gradients."""
    pytest.importorskip("torch")
    from hago.search.first_order import first_order

    return first_order(digits.numbers, digits.samples)


def test_both_sensitivities_rank_what_lowering_one_group_does_to_the_loss(digits, predicted):
    exact = digits.judge.reference.outputs
    found = measure_alone(
        digits.space,
        lambda assignment: digits.simulate(assignment, digits.samples),
        {"loss": lambda o: loss_change(o, exact), "noise": lambda o: capped_noise(o, exact)},
        EVERY,
    )
    loss, noise = (list(found[name].values()) for name in ("loss", "noise"))
    # Of 27 options in a random order, one in a hundred reaches 0.45.
    assert rank_correlation(predicted, loss) > 0.45
    assert rank_correlation(noise, loss) > 0.45


def test_noises_on_a_few_samples_add_up_to_what_all_samples_have(digits, tmp_path):
    found = find_sensitivity(digits, 8, Pace(cache=Cache(tmp_path)))
    exact = digits.judge.reference.outputs
    lowered = digits.simulate(digits.space.lowest, digits.samples)
    whole = capped_noise(lowered, exact)
    added = sum(row[-1] for row in found.noise)
    # Noises of groups are independent but for their signs: sums are right within a factor of 2.
    assert abs(np.log(added / whole)) < np.log(2)


def test_first_order_sensitivities_add_up_to_what_all_groups_together_do(digits, predicted):
    assert all(row[0] == 0 for row in predicted)
    lowered = digits.simulate(digits.space.levels()[1], digits.samples)
    found = loss_change(lowered, digits.judge.reference.outputs)
    added, largest = (f(row[1] for row in predicted) for f in (sum, max))
    assert abs(np.log(added / found)) < 0.5 * abs(np.log(largest / found))
