"""What is left out of proposals is what no better strategy has."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from hago.search.goal import Goal
from hago.search.problem import Problem, Table
from hago.search.proposers import PROPOSERS
from hago.search.proposers.greedy import raising_path
from hago.search.proposers.proposer import history_of
from tests.search.problems import every_assignment, problem_of, space_of

FASTER, SLOWER = {0: 4.0, 1: 2.0, 2: 1.0}, {0: 4.0, 1: 1.0, 2: 2.0}


def problem(latency: dict[int, float], measured: bool = True, weights: int = 0) -> Problem:
    """Two groups of three options each; the first group's latencies are ``latency``."""
    space = space_of(3, 3, weights=weights)
    configurations = list(product(range(3), range(3)))
    table = Table(
        (0, 1),
        {c: latency[c[0]] + FASTER[c[1]] for c in configurations},
        frozenset(configurations if measured else configurations[:5]),
    )
    noise = ((0.0, 1e-3, 2e-3), (0.0, 1e-3, 2e-3))
    return Problem(space, Goal("latency", max_drop=1.0), noise, (table,))


def test_what_is_slower_and_noisier_than_another_option_is_left_out():
    assert problem(SLOWER).choices == ((0, 1), (0, 1, 2))
    assert problem(FASTER).choices == ((0, 1, 2), (0, 1, 2))


def test_a_guess_proves_nothing():
    assert problem(SLOWER, measured=False).choices == ((0, 1, 2), (0, 1, 2))


def test_fewer_bytes_of_weights_are_a_reason_to_stay():
    assert problem(SLOWER, weights=1000).choices == ((0, 1, 2), (0, 1, 2))


def test_of_two_equal_options_the_first_stays():
    equal = replace(problem(SLOWER), noise=((0.0, 1e-3, 1e-3), (0.0, 1e-3, 2e-3)))
    same = replace(equal, tables=())
    assert same.choices[0] == (0,)


def test_no_proposer_proposes_what_is_left_out():
    found = problem(SLOWER)
    history = history_of(found, [])
    for number, name in product(range(20), PROPOSERS):
        proposal = PROPOSERS[name].propose(found, history, np.random.default_rng(number))
        assert proposal is None or proposal[0] != 2, name
    assert all(assignment[0] != 2 for assignment in raising_path(found))


@pytest.mark.parametrize("seed", range(6))
def test_the_best_strategy_within_any_noise_is_never_left_out(seed):
    found = problem_of(seed, Goal("latency", max_drop=1.0))
    random = np.random.default_rng(seed)
    tables = []
    for number, group in enumerate(found.space.groups):
        latencies = {(o,): float(random.uniform(0.1, 1)) for o in range(len(group.options))}
        tables.append(Table((number,), latencies, frozenset(latencies)))
    groups = tuple(replace(group, weights=0) for group in found.space.groups)
    found = replace(found, tables=tuple(tables), space=replace(found.space, groups=groups))
    everything = every_assignment(found)
    left = [a for a in everything if all(o in c for o, c in zip(a, found.choices, strict=True))]
    assert len(left) < len(everything)
    for budget in np.quantile([found.noise_of(a) for a in everything], (0.0, 0.3, 0.7, 1.0)):
        best = [
            min(found.latency_of(a) for a in among if found.noise_of(a) <= budget + 1e-12)
            for among in (everything, left)
        ]
        assert best[0] == pytest.approx(best[1])
