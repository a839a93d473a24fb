"""A histogram of a stream, exactly that of the whole, in bounded memory.

Bins are ``[k w, (k+1) w)`` with ``w`` a power of two. A wider range doubles ``w``, which merges the
bins 2k and 2k+1 into k: nothing is redistributed, so the order of the samples does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, frexp, ldexp

import numpy as np
import numpy.typing as npt

from hago.scheme import Array

BINS = 2048
Counts = npt.NDArray[np.int64]

_CHUNK = 1 << 15  # values binned at a time: the temporaries stay in the L2 cache
_SMALLEST_WIDTH = 2.0**-120
_LARGEST_INDEX = 2**24  # a bin is no narrower than the resolution of float32 at the largest value


@dataclass(frozen=True, eq=False)
class Histogram:
    """``counts[i]`` values in ``[(first + i) width, (first + i + 1) width)``.

    ``zeros`` of them are exactly 0: they have no quantization error, since 0 is always a code.
    """

    first: int
    width: float
    counts: Counts
    zeros: int

    def __post_init__(self) -> None:
        self.counts.flags.writeable = False

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """The ``len(counts) + 1`` borders of the bins."""
        return (self.first + np.arange(len(self.counts) + 1, dtype=np.float64)) * self.width

    @property
    def centers(self) -> npt.NDArray[np.float64]:
        return (self.first + np.arange(len(self.counts), dtype=np.float64) + 0.5) * self.width

    @property
    def nonzero_counts(self) -> Counts:
        """The counts without the exact zeros."""
        counts = self.counts.copy()
        if 0 <= -self.first < len(counts):
            counts[-self.first] -= self.zeros
        return counts

    def add(self, values: Array) -> Histogram:
        """This histogram with finite float ``values`` counted as well."""
        if values.size == 0:
            return self
        low, high = float(values.min()), float(values.max())
        if self.counts.size:
            low, high = min(low, self.first * self.width), max(high, self._last * self.width)
        width = max(self.width, bin_width(low, high))
        first, last = floor(low / width), floor(high / width)
        counts = np.zeros(last - first + 1, np.int64)
        merged_first, merged = self._merged(width)
        counts[merged_first - first : merged_first - first + len(merged)] += merged
        flat = values.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            bins = _bins(flat[start : start + _CHUNK], width, first)
            counts += np.bincount(bins, minlength=len(counts))
        zeros = self.zeros + flat.size - int(np.count_nonzero(flat))
        return Histogram(first, width, counts, zeros)

    @property
    def _last(self) -> int:
        return self.first + len(self.counts) - 1

    def _merged(self, width: float) -> tuple[int, Counts]:
        """First index and counts of these values in bins of ``width``."""
        if not self.counts.size:
            return floor(self.first * self.width / width), self.counts
        borders = np.arange(self.first, self.first + len(self.counts)) * self.width
        bins = np.floor(borders / width).astype(np.int64)
        return int(bins[0]), np.bincount(bins - bins[0], self.counts).astype(np.int64)


EMPTY = Histogram(0, _SMALLEST_WIDTH, np.zeros(0, np.int64), 0)


def bin_width(low: float, high: float) -> float:
    """The smallest power of two that covers ``[low, high]`` with at most ``BINS`` bins."""
    largest, span = max(abs(low), abs(high)), high - low
    width = max(_power_of_two(span / BINS), _power_of_two(largest / _LARGEST_INDEX))
    width = max(width, _SMALLEST_WIDTH)
    while floor(high / width) - floor(low / width) >= BINS:
        width *= 2
    return width


def _bins(values: Array, width: float, first: int) -> npt.NDArray[np.intp]:
    """The bin of each value, ``first`` being 0.

    Scaling by a power of two is exact in float32 where nothing becomes smaller: then no value
    loses bits as a subnormal. Otherwise it is done in float64, whose exponents suffice.
    """
    is_exact = values.dtype == np.float32 and width <= 1
    wide = values if is_exact else values.astype(np.float64)
    scaled = wide * wide.dtype.type(1 / width)
    np.floor(scaled, out=scaled)
    bins = np.empty(values.shape, np.intp)
    np.subtract(scaled, scaled.dtype.type(first), out=bins, casting="unsafe")
    return bins


def _power_of_two(value: float) -> float:
    """The smallest power of two that is at least ``value`` (0 for 0)."""
    if value == 0:
        return 0.0
    fraction, exponent = frexp(value)
    return ldexp(1.0, exponent - 1 if fraction == 0.5 else exponent)
