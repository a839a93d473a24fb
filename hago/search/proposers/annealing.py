"""Simulated annealing over guesses, from the best trial: many steps between two measurements."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hago.search.problem import Problem
from hago.search.proposers.proposer import History
from hago.search.proposers.surrogate import fit_surrogate
from hago.search.space import Assignment


@dataclass(frozen=True)
class Annealing:
    """``steps`` of one changed group each; the temperature falls from ``start`` to ``end``, in
    units of the objective in float32."""

    steps: int = 1500
    start: float = 0.1
    end: float = 0.0005

    def propose(
        self, problem: Problem, history: History, random: np.random.Generator
    ) -> Assignment | None:
        surrogate = fit_surrogate(problem, history)
        current = next(iter(history.ranked(problem)), problem.space.lowest)
        energy = float(surrogate.energies([current])[0])
        tried = set(history.assignments)
        best: Assignment | None = None
        best_energy = math.inf
        for step in range(self.steps):
            other = change(problem, current, random)
            changed = float(surrogate.energies([other])[0])
            if other not in tried and changed < best_energy:
                best, best_energy = other, changed
            heat = self.start * (self.end / self.start) ** (step / self.steps)
            if changed <= energy or random.random() < math.exp((energy - changed) / heat):
                current, energy = other, changed
        return best


def change(problem: Problem, assignment: Assignment, random: np.random.Generator) -> Assignment:
    """``assignment`` with another option for one group: one that nothing dominates."""
    group = int(random.integers(len(assignment)))
    others = [option for option in problem.choices[group] if option != assignment[group]]
    option = others[int(random.integers(len(others)))] if others else assignment[group]
    return (*assignment[:group], option, *assignment[group + 1 :])
