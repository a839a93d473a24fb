"""What a strategy would cost, guessed from all trials: for searching between measurements.

Noises of single groups add up only roughly; boosted trees learn the rest from the trials
(Quantune, arXiv 2202.05048, with the sum as a start).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xgboost

from hago.search.cost_model import Matrix, grow_trees
from hago.search.goal import Figures
from hago.search.problem import DropCurve, Problem
from hago.search.proposers.proposer import History
from hago.search.space import Assignment

_ENOUGH = 24  # trials from which trees are better than the sum
_PENALTY = 10.0  # of a bound exceeded by its own size, in units of the objective in float32
_LEAST = 1e-12  # noise that counts as none


@dataclass(frozen=True, eq=False)
class Surrogate:
    """Guesses for many assignments at once."""

    problem: Problem
    curve: DropCurve
    trees: xgboost.Booster | None
    scale: float

    def energies(self, assignments: Sequence[Assignment]) -> Matrix:
        """One number each to be made small: the objective, and penalties for broken bounds."""
        goal = self.problem.goal
        figures = [self._figures(*each) for each in zip(
            assignments, self._noises(assignments), strict=True
        )]  # fmt: skip
        return np.array(
            [goal.value(f) / self.scale + _PENALTY * goal.violation(f) for f in figures]
        )

    def _noises(self, assignments: Sequence[Assignment]) -> Matrix:
        sums = np.array([self.problem.noise_of(assignment) for assignment in assignments])
        if self.trees is None:
            return sums
        correction = self.trees.predict(xgboost.DMatrix(np.asarray(assignments, np.float64)))
        return sums * np.exp(correction)

    def _figures(self, assignment: Assignment, noise: float) -> Figures:
        problem = self.problem
        return Figures(
            noise,
            self.curve.at(noise),
            problem.latency_of(assignment),
            problem.size_of(assignment),
        )


def fit_surrogate(problem: Problem, history: History) -> Surrogate:
    """The surrogate that knows ``history``."""
    pairs = [
        (assignment, record.known)
        for assignment, record in zip(history.assignments, history.records, strict=True)
        if record.simulated or record.measured
    ]
    trees = _trees(problem, [(a, f.noise) for a, f in pairs if f.noise is not None])
    floats = problem.predict(problem.space.floats, DropCurve())
    value = problem.goal.value(floats)
    scale = value if 0 < value < float("inf") else 1.0
    start = Surrogate(problem, DropCurve(), trees, scale)
    noises = start._noises([assignment for assignment, _ in pairs]).tolist()
    seen = sorted(
        (noise, figures.drop)
        for noise, (_, figures) in zip(noises, pairs, strict=True)
        if figures.drop is not None
    )
    curve = DropCurve(
        tuple(noise for noise, _ in seen),
        tuple(np.maximum.accumulate([drop for _, drop in seen]).tolist()) if seen else (),
        problem.drop_power,
    )
    return Surrogate(problem, curve, trees, scale)


def _trees(
    problem: Problem, seen: Sequence[tuple[Assignment, float]]
) -> xgboost.Booster | None:
    """Trees of the logarithm of noise over the sum of noises, on the options as features."""
    if len(seen) < _ENOUGH:
        return None
    sums = np.array([problem.noise_of(assignment) for assignment, _ in seen])
    found = np.array([noise for _, noise in seen])
    targets = np.log(np.maximum(found, _LEAST)) - np.log(np.maximum(sums, _LEAST))
    return grow_trees(np.array([a for a, _ in seen], np.float64), targets)
