"""Scales of weights with the least error of what the layer gives, each on a grid.

    s = argmin over s of (w - q(w; s))^T H (w - q(w; s)),    H = E[x x^T]

for each output channel: the grid "|| W x - W^ x ||" of Nagel et al., AdaRound, arXiv 2004.10568,
section 5. Where a channel has few weights (depthwise convolutions) q is the rounding of
:mod:`hago.methods.obc`, in which weights make up for each other: at some of a few dozen scales nine
weights all fall near codes, which no rounding brings about at a scale chosen without it. Elsewhere
q rounds to nearest, and H counts by its diagonal. With a bias behind the layer H is the covariance
(:mod:`hago.methods.taken_over`). Where the scheme has zero points, each scale is tried with those
that put its codes around the middle of the channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.graph import Edge, QuantModel
from hago.methods.method import register
from hago.methods.obc import damped, round_rows
from hago.methods.taken_over import errors_count, with_means_taken_over
from hago.scheme import Array, Floats, PerAxis, QuantScheme, TensorQuant

Doubles = npt.NDArray[np.float64]
_FEW = 49  # weights a channel: up to depthwise 7x7
_LEAST = 1e-12  # the range of a channel without weights


@register
@dataclass(frozen=True)
class WeightOutput:
    """Sets the numbers per channel of integer weights whose inputs' moments are known.

    The grid has ``shares`` equal steps from ``smallest`` to ``largest`` of the scale that covers
    the channel; ``damping`` is that of ``obc``.
    """

    name: ClassVar[str] = "weight_output"
    paper: ClassVar[str] = "Nagel et al., arXiv 2004.10568, section 5"
    needs: ClassVar[frozenset[str]] = frozenset({"moments"})

    smallest: float = 0.4
    largest: float = 1.15
    shares: int = 61
    damping: float = 0.01

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with new scales, and biases for them; codes that were chosen before are
        dropped."""
        found, weights = dict[Edge, TensorQuant](), constant_edges(model.graph)
        for edge, moments in errors_count(model, stats.moments).items():
            quant = model.quants.get(edge)
            if quant is not None and has_channels(quant):
                found[edge] = self._scaled(weights[edge], quant, moments)
        kept = {edge: codes for edge, codes in model.weights.items() if edge not in found}
        scaled = replace(model.with_quants(found), weights=kept)
        return with_means_taken_over(scaled, stats.moments)

    def _scaled(self, weight: Array, quant: TensorQuant, moments: Floats) -> TensorQuant:
        """The best numbers for ``weight`` ([K, N] of a matmul or OHWI)."""
        groups, length, _ = moments.shape
        rows = (weight.T if weight.ndim == 2 else weight).reshape(groups, -1, length)
        grid = np.linspace(self.smallest, self.largest, self.shares)
        return best_numbers(rows.astype(np.float64), quant.scheme, moments, grid, self.damping)


def has_channels(quant: TensorQuant) -> bool:
    """Whether these are the numbers of codes with a scale for each output channel that may be any:
    paired codes keep the scale by which pairs fit (a search won 0.03 dB of EfficientNet-Lite0)."""
    dtype = quant.scheme.dtype
    return dtype.is_integer and not dtype.paired and isinstance(quant.scheme.granularity, PerAxis)


def best_numbers(
    rows: Doubles, scheme: QuantScheme, moments: Floats, grid: Doubles, damping: float
) -> TensorQuant:
    """The numbers of ``scheme`` (one for each channel) for ``rows`` [G, N, K] with the least error
    by ``moments`` [G, K, K], of shares ``grid`` of the scales that cover each row."""
    numbers = _symmetric if scheme.symmetric else _around_the_middle
    error = _error_of(rows, scheme.dtype.code_range, moments, damping)
    scale, zero_point = np.ones(rows.shape[:2]), np.zeros(rows.shape[:2])
    least = np.full(rows.shape[:2], np.inf)
    for each in numbers(rows, scheme.dtype.code_range, grid):
        errors = error(*each)
        better = errors < least
        scale, zero_point = (
            np.where(better, new, old) for new, old in zip(each, (scale, zero_point), strict=True)
        )
        least = np.minimum(errors, least)
    return TensorQuant(
        scheme, scale.reshape(-1).astype(np.float32), zero_point.reshape(-1).astype(np.int32)
    )


def _symmetric(
    rows: Doubles, code_range: tuple[int, int], grid: Doubles
) -> Iterator[tuple[Doubles, Doubles]]:
    """Scales [G, N] to try, with zero points 0."""
    covering = np.maximum(np.abs(rows).max(axis=2), _LEAST) / code_range[1]
    for share in grid:
        yield covering * share, np.zeros_like(covering)


def _around_the_middle(
    rows: Doubles, code_range: tuple[int, int], grid: Doubles
) -> Iterator[tuple[Doubles, Doubles]]:
    """Scales [G, N] to try, with zero points that leave as many codes on both sides of the middle
    of a row (zero included), or one more on one of them."""
    low, high = np.minimum(rows.min(axis=2), 0.0), np.maximum(rows.max(axis=2), 0.0)
    first, last = code_range
    covering = np.maximum(high - low, _LEAST) / (last - first)
    for share in grid:
        scale = covering * share
        middle = np.rint((first + last) / 2 - (low + high) / 2 / scale)
        for step in (-1, 0, 1):
            yield scale, np.clip(middle + step, first, last)


def _error_of(
    rows: Doubles, code_range: tuple[int, int], moments: Floats, damping: float
) -> Callable[[Doubles, Doubles], Doubles]:
    """The errors [G, N] of ``rows`` [G, N, K] by their scales and zero points [G, N]."""
    low, high = code_range
    known = damped(moments, damping)
    power = np.diagonal(known, axis1=1, axis2=2)[:, None, :]

    def exact(scale: Doubles, zero_point: Doubles) -> Doubles:
        units = rows / scale[:, :, None]
        rounded = round_rows(units, moments, damping, low - zero_point, high - zero_point)
        errors = (units - rounded) * scale[:, :, None]
        return np.asarray(np.einsum("gnk,gkl,gnl->gn", errors, known, errors, optimize=True))

    def diagonal(scale: Doubles, zero_point: Doubles) -> Doubles:
        units = rows / scale[:, :, None]
        bounds = ((bound - zero_point)[:, :, None] for bound in (low, high))
        errors = np.square(units - np.clip(np.rint(units), *bounds)) * power
        return np.asarray(errors.sum(axis=2) * np.square(scale))

    return exact if rows.shape[2] <= _FEW else diagonal
