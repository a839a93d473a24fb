"""Guided search against random, on latencies that are computed instead of measured."""

from __future__ import annotations

import pytest

from hago.search.cache import Cache
from tests.search.stand_ins import ComputedRunner
from tests.zoo.solvers import compare, contest_of, request_for, summary

TRIALS, SEEDS = 5, 3


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The digits, a machine with two kinds of integers; int8 is four times as fast as float32."""
    request = request_for("digits", "x86-avx2", None, max_drop=2e-5)
    cache = Cache(tmp_path_factory.mktemp("latencies"))
    contest = contest_of(request, ComputedRunner(), cache)
    return compare(contest, SEEDS, TRIALS, ("random", "milp"))


def best_of(runs, solver):
    return [run.best[-1] for run in runs if run.solver == solver]


def test_guided_search_beats_random_at_equal_trials_with_every_seed(runs):
    for guided, drawn in zip(best_of(runs, "milp"), best_of(runs, "random"), strict=True):
        assert guided is not None
        assert drawn is None or guided < drawn


def test_the_best_never_gets_worse(runs):
    for run in runs:
        known = [value for value in run.best if value is not None]
        assert known == sorted(known, reverse=True)
        assert len(run.best) == TRIALS


def test_the_summary_counts_the_trials_that_random_is_worth(runs):
    found = summary(runs, TRIALS)
    assert list(found) == ["random", "milp"]
    for run, reached in zip(runs[:SEEDS], found["random"]["trials_to_reach_random"], strict=True):
        assert reached is None or run.best[reached - 1] == run.best[-1]
    assert all(n is None or n <= TRIALS for n in found["milp"]["trials_to_reach_random"])
