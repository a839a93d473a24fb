"""What is remembered of one tensor over all samples: a few numbers and a histogram.

One observer records everything that a range method may ask for, so the data runs once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hago.calibrate.histogram import EMPTY, Histogram
from hago.scheme import Array


@dataclass(frozen=True, eq=False)
class TensorStats:
    """Statistics of a float tensor over ``samples`` samples.

    ``low`` and ``high`` are the extremes, ``mean_low`` and ``mean_high`` the means over samples of
    each sample's extremes.
    """

    low: float
    high: float
    mean_low: float
    mean_high: float
    histogram: Histogram
    samples: int


@dataclass
class TensorObserver:
    """Streams the values of one tensor into :class:`TensorStats`; memory does not grow."""

    low: float = np.inf
    high: float = -np.inf
    sum_low: float = 0.0
    sum_high: float = 0.0
    histogram: Histogram = EMPTY
    samples: int = 0

    def observe(self, values: Array) -> None:
        """Count the finite float ``values`` of one sample."""
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.sum_low, self.sum_high = self.sum_low + low, self.sum_high + high
        self.histogram = self.histogram.add(values)
        self.samples += 1

    def stats(self) -> TensorStats:
        """What was seen. At least one sample must have been."""
        return TensorStats(
            self.low,
            self.high,
            self.sum_low / self.samples,
            self.sum_high / self.samples,
            self.histogram,
            self.samples,
        )
