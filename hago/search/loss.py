"""The loss whose change tells how sensitive a model is: cross-entropy with the likeliest class.

    L = -log softmax(y)[argmax of the float model's y]

over the last axis of the first output, averaged over the others. Labels are not needed: the
float model's own answer takes their place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hago.errors import DataError
from hago.scheme import Array
from hago.search.metrics import LARGEST_NOISE, Outputs

Row = Sequence[float]


def loss_change(outputs: Outputs, exact: Outputs) -> float:
    """The mean over samples of (L - L of the float model)^2; capped, so that it is finite."""
    changes = [
        _loss(_first(found), tops) - _loss(_first(wanted), tops)
        for found, wanted in zip(outputs, exact, strict=True)
        for tops in [top_classes(_first(wanted))]
    ]
    squared = np.square(changes).mean()
    return float(squared) if squared < LARGEST_NOISE else LARGEST_NOISE


def top_classes(scores: Array) -> Array:
    """The largest element of each row, the last axis of which is left in with one element."""
    return scores.argmax(axis=-1)[..., np.newaxis]


def rank_correlation(found: Sequence[Row], truth: Sequence[Row]) -> float | None:
    """Spearman's, over all options below float32 of all groups; None for fewer than 3, or where
    nothing differs. Raises DataError where they are not about the same groups."""
    from scipy.stats import spearmanr

    left, right = ([value for row in rows for value in row[1:]] for rows in (found, truth))
    if len(left) != len(right):
        raise DataError(f"{len(left)} sensitivities for {len(right)} options")
    if len(left) < 3 or len(set(left)) < 2 or len(set(right)) < 2:
        return None
    return float(spearmanr(left, right).statistic)


def _first(output: Mapping[str, Array]) -> Array:
    return np.atleast_1d(next(iter(output.values())).astype(np.float64))


def _loss(scores: Array, tops: Array) -> float:
    shifted = scores - scores.max(axis=-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -float(np.take_along_axis(logs, tops, axis=-1).mean())
