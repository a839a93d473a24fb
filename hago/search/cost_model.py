"""Boosted trees that guess the latency of what was not measured, and say how well they guess.

The trees learn how far a sub-graph is from the machine's peak; before there is enough to learn
from, that distance is the median of what was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xgboost
from scipy.stats import spearmanr

_ENOUGH = 24  # measurements from which trees are better than their median
_FOLDS = 5
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ModelError:
    """On measurements held out: the median relative error, and Spearman's rank correlation."""

    measurements: int
    relative: float
    rank_correlation: float


@dataclass(frozen=True, eq=False)
class CostModel:
    """``offset`` is the logarithm of latency over the first feature; ``trees`` correct it."""

    offset: float
    trees: xgboost.Booster | None

    def predict(self, rows: Matrix) -> Matrix:
        """Latencies in ms of rows of features."""
        correction = np.zeros(len(rows))
        if self.trees is not None:
            correction = self.trees.predict(xgboost.DMatrix(rows)).astype(np.float64)
        return np.exp(rows[:, 0] + self.offset + correction)


def fit_cost_model(rows: Matrix, latencies_ms: Sequence[float]) -> CostModel:
    """The model of measured ``rows`` (of which there is at least one)."""
    targets = np.log(np.asarray(latencies_ms)) - rows[:, 0]
    offset = float(np.median(targets))
    if len(rows) < _ENOUGH:
        return CostModel(offset, None)
    return CostModel(offset, grow_trees(rows, targets - offset))


def grow_trees(rows: Matrix, targets: Matrix) -> xgboost.Booster:
    """Trees for few, exact measurements: the same ones for the same data."""
    options = {"max_depth": 4, "eta": 0.1, "nthread": 1, "seed": 0, "lambda": 0.1}
    return xgboost.train(options, xgboost.DMatrix(rows, label=targets), num_boost_round=150)


def held_out_error(rows: Matrix, latencies_ms: Sequence[float]) -> ModelError | None:
    """The error of models that did not see what they predict; None for fewer than 10 rows."""
    exact = np.asarray(latencies_ms)
    if len(rows) < 2 * _FOLDS:
        return None
    folds = np.random.default_rng(0).permutation(len(rows)) % _FOLDS
    guessed = np.empty(len(rows))
    for fold in range(_FOLDS):
        model = fit_cost_model(rows[folds != fold], exact[folds != fold].tolist())
        guessed[folds == fold] = model.predict(rows[folds == fold])
    relative = float(np.median(np.abs(guessed - exact) / exact))
    return ModelError(len(rows), relative, float(spearmanr(guessed, exact).statistic))
