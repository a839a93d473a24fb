"""Float values against the grid of codes that they are rounded to.

Inside the grid an error is at most half a step (noise of power ``step^2 / 12``, B. Widrow and
I. Kollar, Quantization Noise, 2008, chapter 4), outside it is the distance to the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hago.calibrate.histogram import Histogram
from hago.float8 import FORMATS
from hago.scheme import Array, Floats, TensorQuant

Doubles = npt.NDArray[np.float64]
_BULK = 0.999  # of the values: what lies outside is the tail
_FINE = 4  # bins a step from which on the bins' centers stand for the values


@dataclass(frozen=True)
class Fit:
    """How a grid fits values.

    ``noise`` is the power of the rounding errors, ``signal`` that of the values; ``clipped`` the
    share of values outside of the grid, ``clipped_noise`` their share of the noise. ``low`` and
    ``high`` are the ends of the grid, ``seen_low`` and ``seen_high`` the extreme values, ``step``
    is the distance of codes, all in the tensor's own unit, for weights in steps of their channel.
    ``bulk`` is the share of the grid that holds 99.9% of the values.
    """

    signal: float
    noise: float
    clipped: float
    clipped_noise: float
    low: float
    high: float
    seen_low: float
    seen_high: float
    step: float
    bulk: float

    @property
    def sqnr_db(self) -> float:
        """Signal over noise power in dB; at most 200."""
        if self.noise <= 0:
            return 200.0
        return float(10 * np.log10(max(self.signal, 1e-300) / self.noise))


def fit_histogram(histogram: Histogram, quant: TensorQuant, low: float, high: float) -> Fit:
    """The fit of a per-tensor grid to the values of ``histogram``, whose extremes are known.

    Exact zeros are left out: they are codes.
    """
    counts = histogram.nonzero_counts.astype(np.float64)
    points = np.clip(histogram.centers, low, high)[counts > 0]
    counts = counts[counts > 0] if counts.any() else np.zeros(0)
    ends, step = grid_of(quant), float(quant.scale)
    outside = (points < ends[0] - step / 2) | (points > ends[1] + step / 2)
    errors = _errors(points, quant)
    is_integer = quant.scheme.dtype.is_integer
    if is_integer and histogram.width * _FINE > step:  # within a bin values lie anywhere
        errors = np.where(outside, errors, step**2 / 12)
    total = max(float(histogram.counts.sum()), 1.0)
    noise = float(counts @ errors) / total
    clipped = float(counts @ (errors * outside)) / total
    return Fit(
        signal=float(counts @ np.square(points)) / total,
        noise=noise,
        clipped=float(counts @ outside) / total,
        clipped_noise=clipped / noise if noise else 0.0,
        low=ends[0],
        high=ends[1],
        seen_low=low,
        seen_high=high,
        step=step,
        bulk=_bulk(points, counts, ends),
    )


def fit_weight(weight: Floats, quant: TensorQuant, codes: Array | None) -> Fit:
    """The fit of a weight, in steps of its own scales; ``codes`` are nearest ones where None."""
    scale, zero_point = (np.broadcast_to(each, weight.shape) for each in quant.spread(weight.shape))
    points = (weight / scale).astype(np.float64).ravel()
    stored = quant.encode(weight) if codes is None else codes
    errors = np.square(quant.decode(stored).astype(np.float64) - weight)
    first, last = _ends(quant)
    shift = zero_point.ravel()
    outside = (points < first - shift - 0.5) | (points > last - shift + 0.5)
    noise = float(errors.mean())
    clipped = float((errors.ravel() * outside).mean())
    ends = (float(first - shift.max()), float(last - shift.min()))
    return Fit(
        signal=float(np.square(weight.astype(np.float64)).mean()),
        noise=noise,
        clipped=float(outside.mean()),
        clipped_noise=clipped / noise if noise else 0.0,
        low=ends[0],
        high=ends[1],
        seen_low=float(points.min()),
        seen_high=float(points.max()),
        step=1.0,
        bulk=_bulk(points, np.ones(points.size), ends),
    )


def grid_of(quant: TensorQuant) -> tuple[float, float]:
    """The smallest and the largest real value of a per-tensor grid."""
    first, last = _ends(quant)
    scale, shift = float(quant.scale), int(quant.zero_point)
    return (first - shift) * scale, (last - shift) * scale


def _ends(quant: TensorQuant) -> tuple[float, float]:
    dtype = quant.scheme.dtype
    if dtype.is_integer:
        return dtype.code_range
    largest = float(FORMATS[dtype.kind].largest)
    return -largest, largest


def _errors(points: Doubles, quant: TensorQuant) -> Doubles:
    real = points.astype(np.float32)
    return np.square(quant.decode(quant.encode(real)).astype(np.float64) - points)


def _bulk(points: Doubles, counts: Doubles, ends: tuple[float, float]) -> float:
    """The share of the grid within which all but the largest magnitudes lie."""
    if not points.size:
        return 0.0
    order = np.argsort(np.abs(points))
    below = np.cumsum(counts[order]) / counts.sum()
    kept = points[order][: int(np.searchsorted(below, _BULK)) + 1]
    span = max(kept.max(), 0.0) - min(kept.min(), 0.0)
    return float(min(1.0, span / max(ends[1] - ends[0], 1e-300)))
