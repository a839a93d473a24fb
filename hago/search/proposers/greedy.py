"""HAGO's greedy search: from the fewest bits upwards, what helps most for its cost first.

From all-lowest, the group is raised that removes most noise per added cost (a microsecond, or a
byte), and so on until all is float32. The trials find the point of this path from which on the
bound is kept: a strategy that keeps it always exists, if it is all-float (arXiv 2103.14949,
section 3.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hago.search.problem import Problem
from hago.search.proposers.proposer import History
from hago.search.space import Assignment


@dataclass(frozen=True)
class Greedy:
    """Halves the path between strategies that kept the bounds and strategies that did not."""

    def propose(
        self, problem: Problem, history: History, random: np.random.Generator
    ) -> Assignment | None:
        path = raising_path(problem)
        low, high = -1, len(path) - 1
        while high - low > 1 or history.find(path[high]) is None:
            middle = (low + high + 1) // 2
            record = history.find(path[middle])
            if record is None:
                return path[middle]
            if record.error or problem.goal.violation(record.known):
                low = middle
            else:
                high = middle
            if low >= high:
                return None
        return None


def raising_path(problem: Problem) -> list[Assignment]:
    """From all-lowest to all-float, one group raised by one option at a time."""
    path = [tuple(options[-1] for options in problem.choices)]
    while raised := _raised(problem, path[-1]):
        path.append(max(raised, key=lambda other: _worth(problem, path[-1], other)))
    return path


def _raised(problem: Problem, assignment: Assignment) -> list[Assignment]:
    return [
        (*assignment[:group], max(higher), *assignment[group + 1 :])
        for group, option in enumerate(assignment)
        if (higher := [each for each in problem.choices[group] if each < option])
    ]


def _worth(problem: Problem, before: Assignment, after: Assignment) -> float:
    """Noise removed per cost added; what costs nothing comes first, what helps most of it."""
    removed = problem.noise_of(before) - problem.noise_of(after)
    added = problem.cost_of(after) - problem.cost_of(before)
    least = 1e-9 * max(problem.cost_of(before), 1e-9)
    return removed / max(added, least)
