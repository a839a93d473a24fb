"""Where to clip, by formulas instead of a search over all ranges.

Clipping at ``s`` with steps ``d`` costs, of a variable X,

    J(s) = d(s)^2 / 12 P(|X| <= s)  +  E[(|X| - s)^2; |X| > s],    d = 2 s / 2^B, or s / 2^B

the latter where X has one sign (after a relu). ACIQ knows both terms for two distributions, OCTAV
takes them of the data. Their range lies about the mean or about zero, and within what was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from math import e, erfc, exp, inf, pi, sqrt

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from hago.calibrate.observers import TensorStats
from hago.calibrate.ranges import Range
from hago.scheme import QuantScheme

Doubles = npt.NDArray[np.float64]
_ROUNDS = 64  # of Newton's method; it settles in about ten


def laplace_cost(clip: float, steps: int) -> float:
    """J of a Laplace variable with E|X| = 1 in ``steps`` steps over both signs.

    ``2 e^-s + s^2 / (3 4^B)``: Banner et al., arXiv 1810.05723, section 3 (the share of values
    that is clipped left out of the first term, as there).
    """
    return 2 * exp(-clip) + clip**2 / (3 * steps**2)


def gauss_cost(clip: float, steps: int) -> float:
    """J of a normal variable with E X^2 = 1 in ``steps`` steps over both signs (as there)."""
    clipped = (clip**2 + 1) * erfc(clip / sqrt(2)) - sqrt(2 / pi) * clip * exp(-(clip**2) / 2)
    return clipped + clip**2 / (3 * steps**2)


def best_clip(cost: Callable[[float, int], float], steps: int) -> float:
    """Where ``cost`` is lowest: a number of mean magnitudes, or of standard deviations."""
    found = minimize_scalar(lambda clip: cost(clip, steps), bounds=(0.1, 40), method="bounded")
    return float(found.x)


def aciq_range(stats: TensorStats, scheme: QuantScheme) -> Range:
    """The range of the Laplace or the normal distribution, whichever is likelier of the values.

    Of tensors with one sign it is that of a distribution whose other half was cut off: both signs
    would have twice as many steps.
    """
    values, weights = _seen(stats)
    if not weights.size:
        return stats.low, stats.high
    is_one_sided = _is_one_sided(stats)
    center = 0.0 if is_one_sided or scheme.symmetric else float(weights @ values)
    mean = float(weights @ np.abs(values - center))
    deviation = float(np.sqrt(weights @ np.square(values - center)))
    steps = _steps(scheme, is_one_sided)
    # The mean log-likelihoods are -log(2 e b) and -log(2 pi e v) / 2.
    if 2 * e * mean < sqrt(2 * pi * e) * deviation:
        clip = mean * best_clip(laplace_cost, steps)
    else:
        clip = deviation * best_clip(gauss_cost, steps)
    return max(stats.low, center - clip), min(stats.high, center + clip)


def octav_range(stats: TensorStats, scheme: QuantScheme) -> Range:
    """The magnitudes up to the lowest J of the values themselves, by Newton's method.

    ``s <- E[|X|; |X| > s] / (c P(0 < |X| <= s) + P(|X| > s))`` with ``c = (d/s)^2 / 12``:
    Sakr et al., arXiv 2206.06501, equation 6.
    """
    values, weights = _seen(stats)
    if not weights.size:
        return stats.low, stats.high
    share = 1 / (3 * _steps(scheme, _is_one_sided(stats)) ** 2)
    magnitudes = np.abs(values)
    clip, before = float(weights @ magnitudes), inf
    for _ in range(_ROUNDS):
        if abs(clip - before) <= 1e-6 * clip:
            break
        above = magnitudes > clip
        outside = float(weights[above].sum())
        total = share * (1 - outside) + outside
        before, clip = clip, float(weights[above] @ magnitudes[above]) / total
    return max(stats.low, -clip), min(stats.high, clip)


def _seen(stats: TensorStats) -> tuple[Doubles, Doubles]:
    """Values and their shares, exact zeros left out: zero is always a code."""
    counts = stats.histogram.nonzero_counts.astype(np.float64)
    kept = counts > 0
    return stats.histogram.centers[kept], counts[kept] / max(counts.sum(), 1.0)


def _is_one_sided(stats: TensorStats) -> bool:
    return stats.low >= 0 or stats.high <= 0


def _steps(scheme: QuantScheme, is_one_sided: bool) -> int:
    """How many steps there are over both signs; codes of a symmetric scheme are spent on both."""
    doubled = is_one_sided and not scheme.symmetric
    return int(2**scheme.dtype.bits * (2 if doubled else 1))
