"""What a layer reads, about its mean, where positions count by the slope of what is behind them.

With ``b^ = b + E[W x] - E[W^ x^]`` the bias of a layer takes over what its weights get wrong in the
mean, so these are left with ``E g^2 ((W x - W^ x^) - E[..])^2``. ``g`` is the slope of the
activation function (to first order what is left of an error behind it); means are weighed alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hago.gradient import torch
from hago.methods.layer_rows import LayerRows, product
from hago.scheme import Floats

if TYPE_CHECKING:
    from torch import Tensor

_FLAT = 0.05  # what a position counts behind which the activation function is flat


@dataclass(frozen=True, eq=False)
class CentredRows:
    """``rows`` about the means ``exact`` and ``quantized`` [groups, k], each times the root of what
    it counts."""

    rows: LayerRows
    exact: Tensor
    quantized: Tensor

    @staticmethod
    def of(rows: LayerRows, weight: Tensor, *, has_bias: bool) -> CentredRows:
        """``rows`` of the layer with ``weight``; about zero where it has no bias."""
        counts = _counts(rows, rows.to_rows(weight))
        streams = rows.exact, rows.quantized
        means = [(each * counts).mean(1) * has_bias for each in streams]
        exact, quantized = (
            (each - mean[:, None]) * counts.sqrt()
            for each, mean in zip(streams, means, strict=True)
        )
        return CentredRows(replace(rows, exact=exact, quantized=quantized), *means)

    def shift(self, weight: Tensor, rounded: Tensor) -> Floats:
        """What the bias takes over for ``rounded`` weights, float32 [channels]."""
        wanted, given = (
            torch.einsum("gk,gnk->gn", mean.double(), self.rows.to_rows(each).double())
            for mean, each in ((self.exact, weight), (self.quantized, rounded))
        )
        return np.asarray((wanted - given).reshape(-1).float().numpy())


def _counts(rows: LayerRows, weight: Tensor) -> Tensor:
    """What each row counts, [groups, rows, 1], 1 in the mean: the square of the slope of what is
    behind the layer, in both streams, where a group gives one output."""
    if weight.shape[1] != 1:
        return torch.ones_like(rows.exact[:, :, :1])
    slopes = []
    for inputs, finish in ((rows.exact, rows.finish_exact), (rows.quantized, rows.finish)):
        sums = product(inputs, weight).requires_grad_(True)
        (slope,) = torch.autograd.grad(finish(sums).sum(), sums)
        slopes.append(slope.square())
    counts = (slopes[0] + slopes[1]) / 2 + _FLAT
    found: Tensor = counts / counts.mean(1, keepdim=True)
    return found
