"""Integer programming against trying everything."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import numpy as np
import pytest

from hago.search.goal import Goal
from hago.search.proposers import milp
from hago.search.proposers.milp import Milp, solve
from tests.search.problems import every_assignment, problem_of, tried

RANDOM = np.random.default_rng(0)
SEEDS = range(6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("objective", ["latency", "size"])
def test_the_solution_is_the_best_of_all_within_the_noise_budget(seed, objective):
    problem = problem_of(seed, Goal(objective, max_drop=1.0))
    noises = [problem.noise_of(a) for a in every_assignment(problem)]
    cost = {"latency": problem.latency_of, "size": problem.size_of}[objective]
    for budget in np.quantile(noises, (0.0, 0.3, 0.7)):
        found = solve(problem, budget * 1.001 + 1e-9)
        allowed = [
            a for a in every_assignment(problem) if problem.noise_of(a) <= budget * 1.001 + 1e-9
        ]
        assert found in allowed
        assert cost(found) == pytest.approx(min(map(cost, allowed)), rel=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_least_noise_within_a_latency_and_a_size(seed):
    free = problem_of(seed, Goal("accuracy"))
    latencies = sorted(free.latency_of(a) for a in every_assignment(free))
    goal = Goal("accuracy", max_latency_ms=latencies[20], max_size_bytes=32_000)
    problem = replace(free, goal=goal)
    allowed = [
        a
        for a in every_assignment(problem)
        if problem.latency_of(a) <= goal.max_latency_ms and problem.size_of(a) <= 32_000
    ]
    found = solve(problem, math.inf)
    if not allowed:
        assert found is None
    else:
        assert found in allowed
        least = min(map(problem.noise_of, allowed))
        assert problem.noise_of(found) == pytest.approx(least, rel=1e-6, abs=1e-9)


def test_the_solver_leaves_stdout_to_the_program(capfd):
    with milp._quiet_stdout():
        os.write(1, b"a debugging line of HiGHS")
    os.write(1, b"the program")
    assert capfd.readouterr().out == "the program"


def test_impossible_bounds_have_no_solution():
    problem = problem_of(0, Goal("accuracy", max_latency_ms=0.001))
    assert solve(problem, math.inf) is None


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_trials_close_in_on_the_largest_budget_that_keeps_the_bound(factor):
    """The drop is a multiple of the noise that the proposer does not know."""
    bound = 2e-3
    problem = problem_of(3, Goal("latency", max_drop=bound))
    history, count = tried(problem, factor=factor), 0
    while (found := Milp().propose(problem, history, RANDOM)) is not None:
        assert found not in history.assignments
        history = tried(problem, *history.assignments, found, factor=factor)
        count += 1
        assert count < 40
    kept = [a for a in history.assignments if factor * problem.noise_of(a) <= bound]
    best = min(
        problem.latency_of(a)
        for a in every_assignment(problem)
        if factor * problem.noise_of(a) <= bound / 1.02
    )
    assert min(map(problem.latency_of, kept)) <= best * (1 + 1e-6)


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_where_drops_rise_as_foretold_the_second_trial_has_the_right_budget(power):
    """The budget is that of a drop which rises straight with a power of the noise."""
    bound, excess = 2e-3, 2.0  # the drop of the lowest is so many times the bound
    problem = replace(problem_of(3, Goal("latency", max_drop=bound)), drop_power=power)
    lowest = problem.noise_of(problem.space.lowest)
    levels = problem.space.floats, problem.space.lowest
    history = tried(problem, *levels, factor=excess * bound / lowest)
    found = Milp().propose(problem, history, RANDOM)
    assert found == solve(problem, lowest / excess ** (1 / power))


def test_a_latency_bound_that_trials_broke_is_tightened():
    problem = problem_of(1, Goal("accuracy", max_latency_ms=2.0))
    first = Milp().propose(problem, tried(problem), RANDOM)
    history = tried(problem, first)
    slower = replace(history.records[0].measured, latency_ms=2.1)
    record = replace(history.records[0], measured=slower)
    second = Milp().propose(problem, replace(history, records=(record,)), RANDOM)
    assert second is not None
    assert problem.latency_of(second) < problem.latency_of(first)
