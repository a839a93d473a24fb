"""Copies of the channels that scaling cannot pay for, and scales of all: split and scaled at once.

Scaling a channel down by ``s`` multiplies its weights by ``s``, and of each output the largest
weight sets the step. So a few channels, those whose weights become the largest of many outputs, are
what a smaller threshold ``t`` of OS+ costs (arXiv 2304.09145, section 4.2). They are the ones to
split (arXiv 1901.09504, equation 2) rather than those that reach furthest: a channel in ``m`` parts
needs only ``s = max(1, reach / (m t))``. Each threshold of a grid is tried with its own splits, and
the error that :mod:`hago.methods.os_plus` predicts decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hago.calibrate.channels import ChannelStats
from hago.methods.os_plus import WeightNoise, predicted_error

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_PARTS = 0.8 ** np.arange(1, 14)  # thresholds as parts of the largest reach
_TURNS = 8  # so many times the channels that are worst at present get one more copy


@dataclass(frozen=True, eq=False)
class ScaledCopies:
    """``copies`` int64 [C] of each channel, its ``scale`` [C], and the predicted ``error``."""

    copies: Ints
    scale: Doubles
    error: float


def best_copies(
    stats: ChannelStats, weights: Sequence[WeightNoise], extra: int
) -> ScaledCopies | None:
    """The best of the grid with ``extra`` more channels for what matrix products with ``weights``
    read; None where every channel reaches as far as the others.

    Chosen as in :func:`hago.methods.os_plus.best_scale`; the error is that on the other rows.
    """
    largest, median = float(stats.reach.max()), float(np.median(stats.reach))

    def own(part: float) -> float:
        return _error(stats, stats, weights, *_chosen(stats, weights, extra, part))

    def judged(part: float) -> float:
        return stats.judged(
            lambda seen, other: _error(other, seen, weights, *_chosen(seen, weights, extra, part))
        )

    parts = [float(part) for part in _PARTS if largest * part > median]
    if not parts:
        return None
    best = min(parts, key=lambda part: own(part) + judged(part))
    return ScaledCopies(*_chosen(stats, weights, extra, best), judged(best))


def _chosen(
    stats: ChannelStats, weights: Sequence[WeightNoise], extra: int, part: float
) -> tuple[Ints, Doubles]:
    """Copies and scales for the threshold that is ``part`` of the largest reach."""
    threshold = max(float(stats.reach.max()) * part, float(np.finfo(np.float32).tiny))
    copies = _spend(stats.reach / threshold, np.hstack([w.largest for w in weights]), extra)
    return copies, np.maximum(1.0, stats.reach / (copies * threshold))


def _error(
    stats: ChannelStats,
    seen: ChannelStats,
    weights: Sequence[WeightNoise],
    copies: Ints,
    scale: Doubles,
) -> float:
    channels = np.repeat(np.arange(len(copies)), copies)
    parts = copies[channels]

    def split(each: ChannelStats) -> ChannelStats:
        low, high, mean = (part[channels] / parts for part in (each.low, each.high, each.mean))
        return ChannelStats(low, high, mean, each.square[channels] / np.square(parts), each.rows)

    # The codes of m copies round their sum once: hago/prepare/split_channels.py.
    noise = [_of_copies(each, channels, parts) for each in weights]
    none = np.zeros(len(channels))
    return predicted_error(split(stats), none, scale[channels], noise, split(seen))


def _of_copies(weights: WeightNoise, channels: Ints, parts: Ints) -> WeightNoise:
    """``weights`` with a row for each copy; groups that no longer fit are one column."""
    fits = len(channels) % weights.group == 0
    return replace(
        weights,
        power=weights.power[channels] / parts,
        largest=weights.largest[channels],
        group=weights.group if fits else len(channels),
    )


def _spend(needed: Doubles, weights: Doubles, extra: int) -> Ints:
    """Copies of each channel, ``extra`` more than there are channels.

    ``needed`` [C] is the scale of a whole channel: those above 1 have copies, unless none is. A
    copy goes where it lowers the squares of the largest scaled magnitudes of the outputs most;
    ``weights`` [C, N] are these before scaling. Where it lowers none, the channel that needs the
    largest scale gets it.
    """
    copies = np.ones(len(needed), np.int64)
    (wide,) = np.nonzero(needed >= min(1.0, float(needed.max())))
    floor = np.delete(weights, wide, axis=0).max(axis=0, initial=0.0)
    known, outputs = weights[wide], np.arange(weights.shape[1])
    turns = min(_TURNS, extra)
    for turn in range(turns):
        count = extra * (turn + 1) // turns - extra * turn // turns
        scaled = known * np.maximum(1.0, needed[wide] / copies[wide])[:, None]
        first = scaled.argmax(axis=0)
        top = np.maximum(scaled[first, outputs], floor)
        less = known[first, outputs] * np.maximum(1.0, needed[wide] / (copies[wide] + 1))[first]
        scaled[first, outputs] = 0.0
        rest = np.maximum(np.maximum(scaled.max(axis=0), less), floor)
        gains = np.bincount(first, np.square(top) - np.square(rest), len(wide))
        order = np.lexsort((-needed[wide] / copies[wide], -gains))[:count]
        copies[wide[np.resize(order, count)]] += 1
    return copies
