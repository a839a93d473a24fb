"""What is remembered of each position of a sequence: mean and variance of its channels.

Some positions hold nearly the same in every sample: the first of a text or an image (its class
token), because it is the same input and attends to itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hago.scheme import Array

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PositionStats:
    """``mean`` and ``variance`` float64 [T, C] over samples, of the T positions that were no
    padding in any."""

    mean: Doubles
    variance: Doubles


Positions = Mapping[str, PositionStats]  # of tensors, by name


@dataclass
class PositionObserver:
    """Streams the values of one tensor, its last axis channels; memory does not grow."""

    first: Doubles | None = None
    total: Doubles | float = 0.0
    squares: Doubles | float = 0.0
    always: Bools | None = None
    count: int = 0

    def observe(self, values: Array, counted: Bools) -> None:
        """Count one sample; ``counted`` [rows] are the positions that are no padding."""
        rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
        if self.first is None:
            self.first, self.always = rows, counted
        assert self.always is not None
        # About the first sample, lest the variance of what hardly changes drown in rounding.
        change = rows - self.first
        self.total, self.squares = self.total + change, self.squares + np.square(change)
        self.always = self.always & counted
        self.count += 1

    def stats(self) -> PositionStats:
        """What was seen. At least one sample must have been."""
        assert self.first is not None
        mean, square = (np.asarray(each) / self.count for each in (self.total, self.squares))
        kept = self.always
        return PositionStats((self.first + mean)[kept], (square - np.square(mean))[kept])
