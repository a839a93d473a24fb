"""Which part of what was seen the codes shall cover: one function a method.

A range outside of which values are clipped trades a few large errors for many small ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from hago.calibrate.histogram import Histogram
from hago.calibrate.observers import TensorStats
from hago.errors import StrategyError
from hago.sample import did_you_mean
from hago.scheme import Array, QuantScheme, fill_scheme

Range = tuple[float, float]
Doubles = npt.NDArray[np.float64]
PERCENTILE = 99.99  # onnxruntime and NNCF default to 99.99 to 99.999
_SHRINKS = tuple(step / 64 for step in range(64, 0, -1))


def minmax_range(stats: TensorStats, scheme: QuantScheme) -> Range:
    """All that was seen: nothing is clipped."""
    return stats.low, stats.high


def mean_range(stats: TensorStats, scheme: QuantScheme) -> Range:
    """The mean over samples of their extremes: HAGO's own default (arXiv 2103.14949)."""
    return stats.mean_low, stats.mean_high


def percentile_range(
    stats: TensorStats, scheme: QuantScheme, keep: float = PERCENTILE
) -> Range:
    """The smallest range with ``keep`` percent of the values, half of the others at each end.

    A side on which less than that lies keeps its extreme. Symmetric schemes cut magnitudes.
    """
    histogram = stats.histogram
    if scheme.symmetric:
        magnitudes = np.abs(histogram.edges)
        top = _quantile(*_folded(histogram), keep / 100)
        top = min(top, float(magnitudes.max()))
        return max(stats.low, -top), min(stats.high, top)
    tail = (1 - keep / 100) / 2
    low = _quantile(histogram.edges, histogram.counts, tail)
    high = _quantile(histogram.edges, histogram.counts, 1 - tail)
    return max(stats.low, low), min(stats.high, high)


def mse_range(stats: TensorStats, scheme: QuantScheme) -> Range:
    """The range with the least mean squared error of encoding and decoding under ``scheme``."""
    return lp_range(stats, scheme, 2.0)


def lp_range(stats: TensorStats, scheme: QuantScheme, p: float) -> Range:
    """The range with the least sum of ``|error|^p``: the larger p, the less is clipped.

    Both ends shrink together, then one at a time, each on a grid of 64ths; the error is that of
    the histogram's bin centers, exact zeros left out (zero is always a code).
    """
    counts = stats.histogram.nonzero_counts
    kept = counts > 0
    centers, weights = stats.histogram.centers[kept], counts[kept].astype(np.float64)
    if not centers.size:
        return stats.low, stats.high

    def error(low: float, high: float) -> float:
        return _encoding_error(scheme, (low, high), centers, weights, p)

    best = min(((stats.low * s, stats.high * s) for s in _SHRINKS), key=lambda r: error(*r))
    if scheme.symmetric or stats.low >= 0 or stats.high <= 0:
        return best
    for _ in range(2):
        best = min(((stats.low * s, best[1]) for s in _SHRINKS), key=lambda r: error(*r))
        best = min(((best[0], stats.high * s) for s in _SHRINKS), key=lambda r: error(*r))
    return best


def kl_range(stats: TensorStats, scheme: QuantScheme) -> Range:
    """The clip bound whose quantized histogram is nearest to the clipped one in KL divergence.

    The procedure of TensorRT (S. Migacz, "8-bit inference with TensorRT", GTC 2017): for each bound
    the outliers are added to the last bins (P), the bins are averaged into as many levels as there
    are codes (Q, zero where P is), and the bound of the least KL(P || Q) is taken. Needs codes of
    at most 8 bits; others keep the extremes.
    """
    histogram = stats.histogram
    if not scheme.dtype.is_integer or scheme.dtype.bits > 8:
        return stats.low, stats.high
    counts = histogram.nonzero_counts.astype(np.float64)
    first, levels = histogram.first, scheme.dtype.code_range[1] - scheme.dtype.code_range[0]
    last = first + len(counts) - 1
    reach = max(abs(first), abs(last)) + 1
    one_sided = first >= 0 or last < 0
    smallest = levels if one_sided else levels // 2
    if one_sided and scheme.symmetric:
        smallest = levels = levels // 2
    if reach <= smallest or not counts.any():
        return stats.low, stats.high
    bounds = np.unique(np.linspace(smallest, reach, 192).astype(int))
    losses = [_divergence(counts, first, int(bound), levels) for bound in bounds]
    bound = int(bounds[int(np.argmin(losses))]) * histogram.width
    return max(stats.low, -bound), min(stats.high, bound)


RANGE_METHODS: Mapping[str, Callable[[TensorStats, QuantScheme], Range]] = {
    "minmax": minmax_range,
    "mean": mean_range,
    "percentile": percentile_range,
    "mse": mse_range,
    "kl": kl_range,
}


def choose_range(stats: TensorStats, scheme: QuantScheme, method: str) -> Range:
    """The real range ``(low, high)`` of ``method``. Raises StrategyError on an unknown name."""
    if method not in RANGE_METHODS:
        raise StrategyError(
            f"no range method '{method}'{did_you_mean(method, RANGE_METHODS)}",
            fact="the range methods are " + ", ".join(RANGE_METHODS),
            source="hago/calibrate/ranges.py",
        )
    return RANGE_METHODS[method](stats, scheme)


def _encoding_error(
    scheme: QuantScheme, covered: Range, values: Doubles, weights: Doubles, p: float
) -> float:
    """Weighted sum of ``|error|^p`` of ``values`` under ``scheme`` filled with a range."""
    quant = fill_scheme(scheme, *map(_scalar, covered))
    errors = quant.decode(quant.encode(values.astype(np.float32))) - values
    powers = np.square(errors) if p == 2.0 else np.power(np.abs(errors), p)
    return float(weights @ powers)


def _scalar(value: float) -> Array:
    return np.asarray(value, np.float64)


def _folded(histogram: Histogram) -> tuple[Doubles, npt.NDArray[np.int64]]:
    """Edges and counts of the magnitudes (bins are aligned at zero, so they fold exactly)."""
    indices = histogram.first + np.arange(len(histogram.counts))
    folded = np.where(indices >= 0, indices, -indices - 1)
    counts = np.bincount(folded, histogram.counts).astype(np.int64)
    return np.arange(len(counts) + 1, dtype=np.float64) * histogram.width, counts


def _quantile(edges: Doubles, counts: npt.NDArray[np.int64], fraction: float) -> float:
    """The value below which ``fraction`` of the counts lie, linear within a bin."""
    below = np.concatenate(([0], np.cumsum(counts)))
    return float(np.interp(fraction * below[-1], below, edges))


def _divergence(counts: Doubles, first: int, bound: int, levels: int) -> float:
    """KL(P || Q) for the bins within ``bound`` bins of zero."""
    start, stop = max(-bound - first, 0), min(bound - first, len(counts))
    if stop - start <= 0:
        return float("inf")
    kept = counts[start:stop]
    reference = kept.copy()
    reference[0] += counts[:start].sum()
    reference[-1] += counts[stop:].sum()
    starts = np.unique((np.arange(levels) * len(kept)) // levels)
    present = (reference > 0).astype(np.float64)
    sums, filled = np.add.reduceat(kept, starts), np.add.reduceat(present, starts)
    level = np.repeat(sums / np.maximum(filled, 1), np.diff(np.append(starts, len(kept))))
    quantized = level * present
    if not quantized.any():
        return float("inf")
    p, q = reference / reference.sum(), quantized / quantized.sum()
    both = p > 0
    # A bin with mass only from outliers has q = 0: it counts as the smallest share of one value.
    return float(np.sum(p[both] * np.log(p[both] / np.maximum(q[both], 1e-12))))
