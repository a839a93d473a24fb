"""What is remembered of each channel of a tensor: its extremes and its first two moments.

The channels of a prepared module's tensors are their last axis. Both halves of what was seen are
kept apart as well: where few rows were seen, some channels stand out by chance, and what is won on
the rows that showed them is lost on others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from hago.calibrate.ahead import one_ahead
from hago.calibrate.padding import Look
from hago.calibrate.run import count_of
from hago.sample import Sample
from hago.scheme import Array, Floats

Doubles = npt.NDArray[np.float64]
PILOT = 32  # samples that show which channels stand out
# Tensors of fewer rows are looked at in more samples: which channels a text makes stand out, and
# how far, differs from text to text. MiniLM: 28.9 dB by 32 samples, 29.2 by 160.
_FEW_ROWS, _MOST = 512, 160


@dataclass(frozen=True, eq=False)
class ChannelStats:
    """Per channel, float64 [C]: smallest and largest value, mean, mean of squares over so many
    ``rows``; and the same of each of two ``halves`` of the rows, where these are known."""

    low: Doubles
    high: Doubles
    mean: Doubles
    square: Doubles
    rows: int = 1
    halves: tuple[ChannelStats, ...] = ()

    @property
    def reach(self) -> Doubles:
        """Largest magnitude of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def judged(self, error: Callable[[ChannelStats, ChannelStats], float]) -> float:
        """``error(seen, other)`` of what ``seen`` suggests, judged by ``other``: the mean of both
        ways to tell the halves apart."""
        first, second = self.halves or (self, self)
        return (error(first, second) + error(second, first)) / 2

    def of(self, channels: npt.NDArray[np.int64]) -> ChannelStats:
        """Those of ``channels``, in this order."""
        low, high, mean, square = (
            each[channels] for each in (self.low, self.high, self.mean, self.square)
        )
        halves = tuple(half.of(channels) for half in self.halves)
        return ChannelStats(low, high, mean, square, self.rows, halves)

    def less(self, shift: Doubles) -> ChannelStats:
        """Those of the tensor less ``shift`` [C]."""
        mean = self.mean - shift
        square = self.square - 2 * shift * self.mean + np.square(shift)
        halves = tuple(half.less(shift) for half in self.halves)
        return ChannelStats(
            self.low - shift, self.high - shift, mean, square, self.rows, halves
        )


Channels = Mapping[str, ChannelStats]  # of tensors, by name


@dataclass
class _Half:
    """What was seen of some rows."""

    low: Floats | float = np.inf
    high: Floats | float = -np.inf
    total: Doubles | float = 0.0
    squares: Doubles | float = 0.0
    count: int = 0

    def observe(self, rows: Floats) -> None:
        self.low = np.minimum(self.low, rows.min(axis=0, initial=np.inf))
        self.high = np.maximum(self.high, rows.max(axis=0, initial=-np.inf))
        self.total = self.total + rows.sum(axis=0, dtype=np.float64)
        self.squares = self.squares + np.square(rows).sum(axis=0, dtype=np.float64)
        self.count += len(rows)

    def joined(self, other: _Half) -> _Half:
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        total, squares = self.total + other.total, self.squares + other.squares
        return _Half(low, high, total, squares, self.count + other.count)

    def stats(self, halves: tuple[ChannelStats, ...] = ()) -> ChannelStats:
        """Zeros where there were no rows."""
        count = max(self.count, 1)
        mean, square = (np.asarray(total) / count for total in (self.total, self.squares))
        bounds = (np.asarray(bound, np.float64) for bound in (self.low, self.high))
        low, high = (np.where(np.isfinite(bound), bound, 0.0) for bound in bounds)
        return ChannelStats(low, high, mean, square, count, halves)


@dataclass
class ChannelObserver:
    """Streams the values of one tensor, its last axis channels; memory does not grow.

    The first rows of a sample belong to one half, the others to the other, by turns: of samples of
    one row every other.
    """

    first: _Half = field(default_factory=_Half)
    second: _Half = field(default_factory=_Half)

    def observe(self, values: Array) -> None:
        """Count the float ``values`` of one sample."""
        rows = values.reshape(-1, values.shape[-1]).astype(np.float32)
        middle = (len(rows) + 1) // 2
        self.first.observe(rows[:middle])
        self.second.observe(rows[middle:])
        self.first, self.second = self.second, self.first

    def stats(self) -> ChannelStats:
        """What was seen. At least one sample must have been."""
        halves = self.first.stats(), self.second.stats()
        return self.first.joined(self.second).stats(halves)


def observe_channels(
    look: Look, data: Iterable[Sample], names: Sequence[str], limit: int = PILOT
) -> Channels:
    """Statistics of the channels of the tensors ``names`` over about ``limit`` samples.

    The samples are spread over the data where their number is known. Tensors of few rows a sample
    have five times as many.
    """
    observers = {name: ChannelObserver() for name in names}
    most = limit * _MOST // PILOT if _has_few_rows(look, data, names) else limit
    count = count_of(data) or limit
    step, every = max(1, count // most), max(1, min(count, most) // limit)
    spread = islice(data, 0, step * most, step)
    for number, seen in enumerate(one_ahead(look, spread)):
        is_pilot = number % every == 0 and number < every * limit
        for name, observer in observers.items():
            rows = seen.counted_rows(name)
            if is_pilot or _is_few(rows):
                observer.observe(rows)
    return {name: observer.stats() for name, observer in observers.items()}


def _has_few_rows(look: Look, data: Iterable[Sample], names: Sequence[str]) -> bool:
    """Whether a tensor has few rows, by the first sample."""
    first = [look(sample) for sample in islice(data, 1)]
    return any(_is_few(seen.counted_rows(name)) for seen in first for name in names)


def _is_few(rows: Array) -> bool:
    return rows.size // rows.shape[-1] < _FEW_ROWS
