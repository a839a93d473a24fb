"""Scales of weights with the least squared error, each on a grid below the largest magnitude.

    s = argmin over s of || W - Q(W; s) ||^2

for every scale of its own (a channel, a group, or the tensor). Nagel et al., A White Paper on
Neural Network Quantization, arXiv 2106.08295, section 3.1. At 8 bits the extremes are as good; at
4 bits and below a few large weights are better clipped than all others rounded coarsely.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from hago.annotate.biases import biases_without
from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.graph import QuantModel
from hago.methods.assign import weight_range
from hago.methods.method import register
from hago.scheme import Array, Floats, PerAxis, PerGroup, QuantScheme, TensorQuant, fill_scheme


@register
@dataclass(frozen=True)
class WeightMse:
    """Sets the scales of integer weights; ``smallest`` of the range is the least that is kept, in
    ``shares`` equal steps."""

    name: ClassVar[str] = "weight_mse"
    paper: ClassVar[str] = "Nagel et al., arXiv 2106.08295, section 3.1"
    smallest: float = 0.3
    shares: int = 36

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with new numbers for its integer weights; codes and biases chosen
        before are dropped."""
        shares = np.linspace(1.0, self.smallest, self.shares)
        quants = {
            edge: best_scales(weight, model.strategy[edge], shares)
            for edge, weight in constant_edges(model.graph).items()
            if edge in model.strategy and model.strategy[edge].dtype.is_integer
        }
        kept = {edge: codes for edge, codes in model.weights.items() if edge not in quants}
        return replace(
            model.with_quants(quants), weights=kept, biases=biases_without(model, quants)
        )


def best_scales(weight: Floats, scheme: QuantScheme, shares: Array) -> TensorQuant:
    """The numbers with the least squared error, of those that cover a share of the range."""
    low, high = weight_range(weight, scheme)
    best = fill_scheme(scheme, low, high)
    scale, zero_point = best.scale.copy(), best.zero_point.copy()
    least = np.full(scale.shape, np.inf)
    for share in shares:
        quant = fill_scheme(scheme, low * share, high * share)
        error = sums_by_scale(np.square(quant.decode(quant.encode(weight)) - weight), scheme)
        better = error < least
        least = np.where(better, error, least)
        scale = np.where(better, quant.scale, scale)
        zero_point = np.where(better, quant.zero_point, zero_point)
    return TensorQuant(scheme, scale, zero_point)


def sums_by_scale(errors: Array, scheme: QuantScheme) -> Array:
    """The sum of ``errors`` over the elements of each scale."""
    granularity = scheme.granularity
    if isinstance(granularity, PerAxis):
        axis = granularity.axis % errors.ndim
        return errors.sum(axis=tuple(i for i in range(errors.ndim) if i != axis))
    if isinstance(granularity, PerGroup):
        starts = np.arange(0, errors.shape[granularity.axis], granularity.size)
        return np.add.reduceat(errors, starts, axis=granularity.axis)
    return np.asarray(errors.sum())
