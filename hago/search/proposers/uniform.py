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
    """Every option of every group is as likely, but those that are dominated."""

    def propose(
        self, problem: Problem, history: History, random: np.random.Generator
    ) -> Assignment | None:
        tried = set(history.assignments)
        choices = problem.choices
        counts = [len(options) for options in choices]
        for _ in range(_DRAWS):
            places = random.integers(counts)
            drawn = tuple(options[int(p)] for options, p in zip(choices, places, strict=True))
            if drawn not in tried:
                return drawn
        return None
