"""What is remembered of each channel of a tensor: its extremes and its first two moments.

The channels of a prepared module's tensors are their last axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class ChannelStats:
    """Per channel, float64 [C]: smallest and largest value, mean, mean of squares."""

    low: Doubles
    high: Doubles
    mean: Doubles
    square: Doubles

    @property
    def reach(self) -> Doubles:
        """Largest magnitude of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


Channels = Mapping[str, ChannelStats]  # of tensors, by name


@dataclass
class ChannelObserver:
    """Streams the values of one tensor, its last axis channels; memory does not grow."""

    low: Floats | float = np.inf
    high: Floats | float = -np.inf
    total: Doubles | float = 0.0
    squares: Doubles | float = 0.0
    count: int = 0

    def observe(self, values: Array) -> None:
        """Count the float ``values`` of one sample."""
        rows = values.reshape(-1, values.shape[-1]).astype(np.float32)
        self.low = np.minimum(self.low, rows.min(axis=0))
        self.high = np.maximum(self.high, rows.max(axis=0))
        self.total = self.total + rows.sum(axis=0, dtype=np.float64)
        self.squares = self.squares + np.square(rows).sum(axis=0, dtype=np.float64)
        self.count += len(rows)

    def stats(self) -> ChannelStats:
        """What was seen. At least one sample must have been."""
        moments = (np.asarray(total) / self.count for total in (self.total, self.squares))
        extremes = (np.asarray(bound, np.float64) for bound in (self.low, self.high))
        return ChannelStats(*extremes, *moments)


def observe_channels(
    look: Look, data: Iterable[Sample], names: Sequence[str], limit: int = PILOT
) -> Channels:
    """Statistics of the channels of the tensors ``names`` over about ``limit`` samples.

    The samples are spread over the data where their number is known.
    """
    observers = {name: ChannelObserver() for name in names}
    step = max(1, (count_of(data) or 0) // limit)
    for seen in one_ahead(look, islice(data, 0, step * limit, step)):
        for name, observer in observers.items():
            observer.observe(seen.counted_rows(name))
    return {name: observer.stats() for name, observer in observers.items()}
