"""Scales of weights with the least error of what the layer gives, each on a grid.

    s = argmin over s of (w - q(w; s))^T H (w - q(w; s)),    H = E[x x^T]

for each output channel: the grid "|| W x - W^ x ||" of Nagel et al., AdaRound, arXiv 2004.10568,
section 5. Where a channel has few weights (depthwise convolutions) q is the rounding of
:mod:`hago.methods.obc`, in which weights make up for each other: at some of a few dozen scales nine
weights all fall near codes, which no rounding brings about at a scale chosen without it. Elsewhere
q rounds to nearest, and H counts by its diagonal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.graph import QuantModel
from hago.methods.method import register
from hago.methods.obc import round_rows
from hago.scheme import Array, Floats, PerAxis, TensorQuant

Doubles = npt.NDArray[np.float64]
_FEW = 49  # weights a channel: up to depthwise 7x7


@register
@dataclass(frozen=True)
class WeightOutput:
    """Sets the symmetric scales per channel of integer weights whose inputs' moments are known.

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
        """``model`` with new scales; codes that were chosen before for them are dropped."""
        found: dict[object, TensorQuant] = {}
        for edge, weight in constant_edges(model.graph).items():
            quant, moments = model.quants.get(edge), stats.moments.get(edge.dst)
            if quant is not None and moments is not None and _is_supported(quant):
                found[edge] = self._scaled(weight, quant, moments)
        kept = {edge: codes for edge, codes in model.weights.items() if edge not in found}
        quants = {edge: found.get(edge, quant) for edge, quant in model.quants.items()}
        return QuantModel(model.graph, model.strategy, quants, kept)

    def _scaled(self, weight: Array, quant: TensorQuant, moments: Floats) -> TensorQuant:
        """``quant`` with the best scales for ``weight`` ([K, N] of a matmul or OHWI)."""
        groups, length, _ = moments.shape
        rows = (weight.T if weight.ndim == 2 else weight).reshape(groups, -1, length)
        grid = np.linspace(self.smallest, self.largest, self.shares)
        best = best_scales(
            rows.astype(np.float64), quant.scheme.dtype.code_range, moments, grid, self.damping
        )
        scale = best.reshape(quant.scale.shape).astype(quant.scale.dtype)
        return TensorQuant(quant.scheme, scale, quant.zero_point)


def best_scales(
    rows: Doubles, code_range: tuple[int, int], moments: Floats, grid: Doubles, damping: float
) -> Doubles:
    """The scales [G, N] of ``rows`` [G, N, K] with the least error by ``moments`` [G, K, K], of
    shares ``grid`` of those that cover each row."""
    error = _error_of(rows, code_range, moments, damping)
    covering = np.maximum(np.abs(rows).max(axis=2), 1e-12) / code_range[1]
    best, least = covering.copy(), np.full(covering.shape, np.inf)
    for share in grid:
        errors = error(covering * share)
        best = np.where(errors < least, covering * share, best)
        least = np.minimum(errors, least)
    return best


def _is_supported(quant: TensorQuant) -> bool:
    """Symmetric codes with a scale for each output channel."""
    scheme = quant.scheme
    return scheme.dtype.is_integer and scheme.symmetric and isinstance(scheme.granularity, PerAxis)


def _error_of(
    rows: Doubles, code_range: tuple[int, int], moments: Floats, damping: float
) -> Callable[[Doubles], Doubles]:
    """The errors [G, N] of ``rows`` [G, N, K] by their scales [G, N]."""
    low, high = code_range
    damped = _damped(moments, damping)
    power = np.diagonal(damped, axis1=1, axis2=2)[:, None, :]

    def exact(scale: Doubles) -> Doubles:
        units, bound = rows / scale[:, :, None], np.ones_like(scale)
        rounded = round_rows(units, moments, damping, low * bound, high * bound)
        errors = (units - rounded) * scale[:, :, None]
        return np.asarray(np.einsum("gnk,gkl,gnl->gn", errors, damped, errors, optimize=True))

    def diagonal(scale: Doubles) -> Doubles:
        units = rows / scale[:, :, None]
        errors = np.square(units - np.clip(np.rint(units), low, high)) * power
        return np.asarray(errors.sum(axis=2) * np.square(scale))

    return exact if rows.shape[2] <= _FEW else diagonal


def _damped(moments: Floats, damping: float) -> Doubles:
    """``moments`` [G, K, K] with a share of the mean power added to every input's."""
    wide = moments.astype(np.float64)
    power = np.diagonal(wide, axis1=1, axis2=2).mean(axis=1)
    added = np.where(power > 0, damping * power, 1.0)
    return np.asarray(wide + added[:, None, None] * np.eye(wide.shape[1]))
