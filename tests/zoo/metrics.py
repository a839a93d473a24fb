"""The measures by which a quantized model is judged, beside those of hago/accuracy.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def top1_agreement(exact: Floats, actual: Floats) -> float:
    """How often the largest score of a row [n, classes] is the same."""
    return float(np.mean(exact.argmax(axis=-1) == actual.argmax(axis=-1)))


def expected_agreement(exact: Floats, actual: Floats) -> npt.NDArray[np.float64]:
    """How likely each row [n, classes] keeps its first class before its second, by the errors that
    the margins between these two have in all rows.

    The few rows that lose it are a draw of that: where margins and their errors are independent,
    this has the same mean, and varies less.
    """
    first, second = np.argsort(exact, axis=-1)[:, :-3:-1].T
    rows = np.arange(len(exact))
    margins, given = (scores[rows, first] - scores[rows, second] for scores in (exact, actual))
    errors = np.sort(given - margins)
    return 1.0 - np.searchsorted(errors, -margins) / len(rows)


def mean_cosine(exact: Floats, actual: Floats) -> float:
    """Mean cosine of corresponding rows [n, width]."""
    return float(np.mean(cosines(exact, actual)))


def cosines(exact: Floats, actual: Floats) -> npt.NDArray[np.float64]:
    """The cosine of each pair of corresponding rows [n, width]."""
    return np.asarray(np.sum(_unit(exact) * _unit(actual), axis=-1))


def nearest_neighbour_agreement(exact: Floats, actual: Floats) -> float:
    """How often the nearest other row by cosine [n, width] is the same one."""
    return float(np.mean(_nearest(exact) == _nearest(actual)))


def line_accuracy(truths: Sequence[str], texts: Sequence[str]) -> float:
    """Share of the lines that were read without a mistake, spaces ignored."""
    pairs = zip(truths, texts, strict=True)
    return float(np.mean([_solid(truth) == _solid(text) for truth, text in pairs]))


def character_accuracy(truths: Sequence[str], texts: Sequence[str]) -> float:
    """1 - edit distance over the number of true characters, spaces ignored."""
    pairs = [(_solid(truth), _solid(text)) for truth, text in zip(truths, texts, strict=True)]
    mistakes = sum(edit_distance(truth, text) for truth, text in pairs)
    return 1.0 - mistakes / sum(len(truth) for truth, _ in pairs)


def edit_distance(left: str, right: str) -> int:
    """Least number of insertions, deletions and substitutions (Levenshtein 1966)."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, row = row, [i]
        for j, b in enumerate(right, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]


def _unit(rows: Floats) -> npt.NDArray[np.float64]:
    wide = rows.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), 1e-300)


def _nearest(rows: Floats) -> npt.NDArray[np.intp]:
    likeness = _unit(rows) @ _unit(rows).T
    np.fill_diagonal(likeness, -np.inf)
    return likeness.argmax(axis=1)


def _solid(text: str) -> str:
    return "".join(text.split())
