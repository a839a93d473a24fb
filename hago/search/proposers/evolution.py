"""Evolution: children of the best trials, the most promising of which is tried."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hago.search.problem import Problem
from hago.search.proposers.annealing import change
from hago.search.proposers.proposer import History
from hago.search.proposers.surrogate import fit_surrogate
from hago.search.space import Assignment


@dataclass(frozen=True)
class Evolution:
    """``children`` of pairs of the best ``parents``: each group from either, one or more
    changed."""

    parents: int = 12
    children: int = 400

    def propose(
        self, problem: Problem, history: History, random: np.random.Generator
    ) -> Assignment | None:
        levels = problem.space.levels()
        parents = [*history.ranked(problem)[: self.parents], *levels]
        tried = set(history.assignments)
        children = [self._child(problem, parents, random) for _ in range(self.children)]
        fresh = [child for child in dict.fromkeys(children) if child not in tried]
        if not fresh:
            return None
        energies = fit_surrogate(problem, history).energies(fresh)
        return fresh[int(np.argmin(energies))]

    def _child(
        self, problem: Problem, parents: list[Assignment], random: np.random.Generator
    ) -> Assignment:
        first, second = (parents[int(random.integers(len(parents)))] for _ in range(2))
        mask = random.random(len(first)) < 0.5
        child = tuple(int(o) for o in np.where(mask, first, second))
        for _ in range(int(random.geometric(0.5))):
            child = change(problem, child, random)
        return child
