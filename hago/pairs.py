"""Signed weights of 8 bits that are no larger with a neighbour than one of them may be.

    a, b neighbours along a reduction, of one sign:    |a| + |b| <= 128

VPMADDUBSW adds two products of unsigned by signed bytes in an int16 that saturates. Within this
bound it does not: 255 * 128 < 2^15. Weights of 7 bits are within it, but lose a whole bit for that;
two neighbours are seldom large at once, so the scale by which all pairs fit is about 0.6 of theirs.

A kernel takes the weights of an output in runs, which it pads with zeros: the column of a matrix
[K, N]; of a convolution's OHWI the ``kw * ci`` weights of a kernel's row, or the ``ci`` of a place
where these do not follow one another in memory. Both pair alike where ``ci`` is even; where it is
odd, every weight is bound to the one on either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
LARGEST = 128  # two of one sign


def runs_of(weight: Array) -> Array:
    """A view of ``weight`` ([K, N] or OHWI) as [outputs, runs, run]."""
    if weight.ndim == 2:
        return weight.T[:, None, :]
    outputs, height, width, inputs = weight.shape
    return weight.reshape(outputs, height, width * inputs)


def is_overlapping(weight: Array) -> bool:
    """Whether a weight has a neighbour on either side."""
    return weight.ndim == 4 and bool(weight.shape[-1] % 2)


def are_paired(runs: Array, overlapping: bool = False) -> bool:
    """Whether codes [.., run] are within the bound, and none is -128."""
    wide = runs.astype(np.int16)
    return bool((wide > -LARGEST).all()) and not any(
        _excess(first, second).any() for first, second in _neighbours(wide, overlapping)
    )


def within_pairs(codes: Array) -> Array:
    """``codes`` of a weight ([K, N] or OHWI), pairs that are too large made smaller by as much in
    both."""
    wide = np.ascontiguousarray(runs_of(codes)).astype(np.int16)
    for first, second in _neighbours(wide, is_overlapping(codes)):
        excess, sign = _excess(first, second), np.sign(first)
        first -= sign * (excess // 2)
        second -= sign * (excess - excess // 2)
    return _in_form(wide.astype(codes.dtype), codes)


def reach(weight: Array) -> Array:
    """``weight`` with each element as large as it is together with its neighbour of one sign, less
    1/128: codes to 127 that cover this range, rounded to nearest, pass the bound by 1 at most."""
    runs = np.ascontiguousarray(runs_of(weight))
    found = runs.copy()
    pairs = zip(
        _neighbours(runs, is_overlapping(weight)), _neighbours(found, is_overlapping(weight)),
        strict=True,
    )  # fmt: skip
    for (first, second), (wide, _) in pairs:
        above = np.maximum(first, 0) + np.maximum(second, 0)
        below = np.minimum(first, 0) + np.minimum(second, 0)
        both = np.where(above > -below, above, below) * ((LARGEST - 1) / LARGEST)
        np.copyto(wide, np.where(np.abs(both) > np.abs(first), both, first))
    return _in_form(found, weight)


def partners(weight: Array) -> npt.NDArray[np.int64]:
    """For each weight of an output, in its own order, the numbers of those that it is bound to,
    [1 or 2, K]; -1 where there is none."""
    _, count, run = runs_of(weight).shape
    place = np.arange(run)
    steps = (place - 1, place + 1) if is_overlapping(weight) else (place ^ 1,)
    first = run * np.arange(count)[:, None]
    return np.stack(
        [np.where((at >= 0) & (at < run), first + at, -1).reshape(-1) for at in steps]
    )


def _neighbours(runs: Array, overlapping: bool) -> Iterator[tuple[Array, Array]]:
    """Views of the first and the second of all pairs [.., run]."""
    yield runs[..., : runs.shape[-1] // 2 * 2 : 2], runs[..., 1::2]
    if overlapping:
        yield runs[..., 1:-1:2], runs[..., 2::2]


def _excess(first: Array, second: Array) -> Array:
    """By how much pairs of one sign are too large."""
    is_one_sign = np.sign(first) == np.sign(second)
    return np.where(is_one_sign, np.maximum(np.abs(first + second) - LARGEST, 0), 0)


def _in_form(runs: Array, weight: Array) -> Array:
    """``runs`` in the form of ``weight``."""
    return np.ascontiguousarray(runs[:, 0].T) if weight.ndim == 2 else runs.reshape(weight.shape)
