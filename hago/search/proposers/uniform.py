"""Strategies drawn at random: the control that others must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hago.search.problem import Problem
from hago.search.proposers.proposer import History
from hago.search.space import Assignment

_DRAWS = 200


@dataclass(frozen=True)
class Uniform:
    """Every option of every group is as likely."""

    def propose(
        self, problem: Problem, history: History, random: np.random.Generator
    ) -> Assignment | None:
        tried = set(history.assignments)
        counts = [len(group.options) for group in problem.space.groups]
        for _ in range(_DRAWS):
            drawn = tuple(int(option) for option in random.integers(counts))
            if drawn not in tried:
                return drawn
        return None
