"""Greedy, annealing, evolution and random, on problems small enough to try everything."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hago.errors import StrategyError
from hago.search.goal import Goal
from hago.search.proposers import PROPOSERS, find_proposers, propose
from hago.search.proposers.greedy import Greedy, raising_path
from tests.search.problems import every_assignment, problem_of, tried

GOAL = Goal("latency", max_drop=1e-3)


@pytest.mark.parametrize("name", PROPOSERS)
def test_the_same_history_and_seed_give_the_same_proposal(name):
    problem = problem_of(0, GOAL)
    history = tried(problem, problem.space.floats, problem.space.lowest)
    first, second = (propose((name,), problem, history, 7) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", PROPOSERS)
def test_a_proposal_is_always_new(name):
    problem = problem_of(0, GOAL, groups=3)
    history = tried(problem)
    while (found := propose((name,), problem, history, 1)) is not None:
        assert found[1] not in history.assignments
        history = tried(problem, *history.assignments, found[1])
    assert history.assignments


def test_nothing_is_left_when_everything_was_tried():
    problem = problem_of(0, GOAL, groups=3)
    history = tried(problem, *every_assignment(problem))
    assert propose(tuple(PROPOSERS), problem, history, 0) is None


def test_the_greedy_path_raises_one_group_at_a_time_up_to_float():
    problem = problem_of(2, GOAL)
    path = raising_path(problem)
    assert path[0] == problem.space.lowest
    assert path[-1] == problem.space.floats
    for before, after in pairwise(path):
        assert sum(np.subtract(before, after)) == 1


def test_greedy_raises_first_what_removes_most_noise_for_its_cost():
    problem = problem_of(2, GOAL)
    flat = [replace(t, latency_ms=dict.fromkeys(t.latency_ms, 1.0)) for t in problem.tables]
    path = raising_path(replace(problem, tables=tuple(flat)))
    removed = [problem.noise_of(a) - problem.noise_of(b) for a, b in pairwise(path)]
    steps = {
        noise[o] - noise[o - 1] for noise in problem.noise for o in range(1, len(noise))
    }
    last = [noise[-1] - noise[-2] for noise in problem.noise]
    assert removed[0] == pytest.approx(max(last))
    assert sorted(removed) == pytest.approx(sorted(steps))


@pytest.mark.parametrize("bound", [0.0, 1e-3, 1.0])
def test_greedy_finds_where_the_bound_is_kept_and_needs_few_trials(bound):
    problem = problem_of(2, Goal("latency", max_drop=bound))
    path, history = raising_path(problem), tried(problem)
    while (found := Greedy().propose(problem, history, np.random.default_rng(0))) is not None:
        history = tried(problem, *history.assignments, found)
    kept = [a for a in history.assignments if problem.noise_of(a) <= bound]
    # the first on the path: all before it break the bound
    assert path.index(kept[-1] if bound else problem.space.floats) == min(
        number for number, a in enumerate(path) if problem.noise_of(a) <= bound
    )
    assert len(history.records) <= 2 + np.log2(len(path))


@pytest.mark.parametrize("name", ["annealing", "evolution"])
def test_guided_search_needs_fewer_trials_than_random(name):
    """Medians over seeds of the trials until the best of all is found."""

    def trials(proposer: str, seed: int) -> int:
        problem = problem_of(seed, GOAL)
        best = min(
            problem.latency_of(a) for a in every_assignment(problem) if problem.noise_of(a) <= 1e-3
        )
        history = tried(problem, problem.space.floats)
        while True:
            _, found = propose((proposer,), problem, history, seed)
            history = tried(problem, *history.assignments, found)
            if problem.noise_of(found) <= 1e-3 and problem.latency_of(found) == best:
                return len(history.records)

    seeds = range(5)
    guided = np.median([trials(name, seed) for seed in seeds])
    control = np.median([trials("random", seed) for seed in seeds])
    assert 5 * guided <= control


def test_an_unknown_proposer_is_named_with_what_there_is():
    with pytest.raises(StrategyError, match="did you mean 'greedy'"):
        find_proposers(("gredy",))
