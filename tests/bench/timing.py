"""Latencies of several contestants under the same conditions: they take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_TURN_SECONDS = 0.05  # of recorded calls in one turn
_LEAST_TURNS = 5


@dataclass(frozen=True)
class Spread:
    """Latency over ``runs`` calls in milliseconds: the quartiles and the fastest call."""

    median_ms: float
    q25_ms: float
    q75_ms: float
    min_ms: float
    runs: int

    @property
    def iqr_ms(self) -> float:
        """The interquartile range."""
        return self.q75_ms - self.q25_ms


def spread(seconds: Sequence[float]) -> Spread:
    """Quartiles of measured times. Raises ValueError where there is none."""
    if not seconds:
        raise ValueError("no calls were measured")
    milliseconds = np.asarray(seconds) * 1e3
    low, median, high = (float(q) for q in np.percentile(milliseconds, (25, 50, 75)))
    return Spread(median, low, high, float(milliseconds.min()), len(seconds))


def take_turns(
    calls: Sequence[Callable[[], object]],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Spread]:
    """The spread of each of ``calls``, which run round robin for about ``seconds`` each.

    Whatever disturbs the machine for a while disturbs all of them. The first call of a turn finds
    the caches full of the others' data and is not recorded.
    """
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        _turn(call, clock)
    turns = 0
    while turns < _LEAST_TURNS or min(map(sum, times), default=seconds) < seconds:
        for call, found in zip(calls, times, strict=True):
            found.extend(_turn(call, clock))
        turns += 1
    return [spread(found) for found in times]


def _turn(call: Callable[[], object], clock: Callable[[], float]) -> list[float]:
    """The times of the calls of one turn, at least one, behind one that is not recorded."""
    call()
    found: list[float] = []
    start = clock()
    while not found or clock() < start + _TURN_SECONDS:
        before = clock()
        call()
        found.append(clock() - before)
    return found
