"""Histograms that are small enough to be shown."""

from __future__ import annotations

import numpy as np

from hago.calibrate.histogram import Histogram
from hago.diagnose.diagnosis import Bars
from hago.scheme import Floats, TensorQuant

_MOST = 128  # bars


def activation_bars(histogram: Histogram) -> Bars:
    """``histogram`` with its bins joined until there are few, exact zeros left out."""
    counts = histogram.nonzero_counts
    together = -(-len(counts) // _MOST)
    starts = np.arange(0, len(counts), together)
    joined = np.add.reduceat(counts, starts)
    return Bars(
        start=histogram.first * histogram.width,
        width=histogram.width * together,
        counts=tuple(int(count) for count in joined),
    )


def weight_bars(weight: Floats, quant: TensorQuant) -> Bars:
    """The weights in steps of their own scales, exact zeros left out."""
    steps = (weight / quant.spread(weight.shape)[0]).ravel()
    steps = steps[steps != 0]
    if not steps.size:
        return Bars(0.0, 1.0, (0,))
    counts, ends = np.histogram(steps.astype(np.float64), bins=_MOST)
    return Bars(float(ends[0]), float(ends[1] - ends[0]), tuple(int(count) for count in counts))
