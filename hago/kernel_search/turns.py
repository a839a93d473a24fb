"""Which of several calls is faster on a busy machine: ratios of neighbours in time.

A disturbance strikes what runs at that time. So calls take turns that last less than a millisecond,
and what counts is a contestant's time in a turn over that of the first one in the same round. This
time is the tenth percentile of the turn's calls: nearly the fastest, for disturbances only add, but
not the very fastest, for a clock of CPU time is set right now and then, on virtual machines above
all, and the call during which it is takes no time or less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hago.deploy.bench import Clock

_TURN = 5e-4  # seconds
_LEAST_CALLS = 3
_UNDISTURBED = 10  # percentile of a turn's calls
Call = Callable[[], object]


@dataclass(frozen=True, eq=False)
class Rounds:
    """``seconds[round, contestant]``: a call in each turn, undisturbed; more than 0."""

    seconds: npt.NDArray[np.float64]

    def ratios(self, contestant: int) -> npt.NDArray[np.float64]:
        """Of its time to the first one's, by round."""
        return np.asarray(self.seconds[:, contestant] / self.seconds[:, 0])

    def ratio(self, contestant: int) -> float:
        return float(np.median(self.ratios(contestant)))

    def is_faster(self, contestant: int) -> bool:
        """Whether it is so in three rounds out of four: by more than they spread."""
        return float(np.percentile(self.ratios(contestant), 75)) < 1.0

    def is_slower(self, contestant: int) -> bool:
        return float(np.percentile(self.ratios(contestant), 25)) > 1.0

    def microseconds(self, contestant: int) -> float:
        return float(np.median(self.seconds[:, contestant])) * 1e6


def take_turns(calls: Sequence[Call], rounds: int, clock: Clock) -> Rounds:
    """``rounds`` turns of each of ``calls``."""
    return Rounds(np.array([[_turn(call, clock) for call in calls] for _ in range(rounds)]))


def _turn(call: Call, clock: Clock) -> float:
    call()  # the others' data have left the caches by then
    times: list[float] = []
    start = now = clock()
    while len(times) < _LEAST_CALLS or now - start < _TURN:
        before = clock()
        call()
        now = clock()
        times.append(now - before)
    undisturbed = float(np.percentile(times, _UNDISTURBED, method="lower"))
    if undisturbed > 0:
        return undisturbed
    return (now - start) / len(times)  # calls are shorter than the clock's ticks
