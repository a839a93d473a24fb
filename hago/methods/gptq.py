"""Weights rounded column by column, each rounding error spread over the columns to come.

    H = X^T X + damping * mean(diag(H)) I,   H^-1 = U^T U with U upper triangular
    e = (w_q - round(w_q)) / U_qq,           w_later -= e U_q,later

Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers,
arXiv 2210.17323 (ICLR 2023), equations 1 to 3 and algorithm 1, with the Cholesky form of its
section 3.3. Columns go in the order of H's diagonal, the largest first, and scales stay what they
are ("act-order" and "static groups" of the authors' code).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from hago.calibrate import Stats
from hago.gradient import torch
from hago.gradient.fake_quantize import numbers_of
from hago.graph import QuantModel
from hago.methods.blocks import single_layers
from hago.methods.descent import seeded
from hago.methods.layer_rows import layer_rows
from hago.methods.method import register
from hago.methods.reconstruction import BlockData, hooks_within, reconstruct

Doubles = npt.NDArray[np.float64]
_TOGETHER = 128  # columns whose errors reach the later ones in one product (algorithm 1's B)


@register
@dataclass(frozen=True)
class Gptq:
    """Chooses the codes of weights, layer by layer; nothing is learned.

    ``samples`` of the data give ``rows`` positions a layer; ``damping`` is a share of the mean of
    the Hessian's diagonal.
    """

    name: ClassVar[str] = "gptq"
    paper: ClassVar[str] = "Frantar et al., arXiv 2210.17323"
    extra: ClassVar[str] = "torch"
    damping: float = 0.01
    samples: int = 32
    rows: int = 4096
    seed: int = 0
    cache: str = ""

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with codes for every integer weight."""
        return reconstruct(self, single_layers, self._solve, model, stats)

    def _solve(self, model: QuantModel, data: BlockData) -> QuantModel:
        ((edge, weight),) = data.weight_edges(model).items()
        quant = model.quants[edge]
        hook = hooks_within(model, data.block).get((edge.dst, 0), lambda real: real)
        rows = layer_rows(data, hook, self.rows, seeded(self.seed))
        scale, zero_point = (
            rows.to_rows(numbers.expand(weight.shape)).numpy().astype(np.float64)
            for numbers in numbers_of(quant, tuple(weight.shape))
        )
        inputs = rows.quantized.numpy().astype(np.float64)
        upper = inverse_factor(np.swapaxes(inputs, 1, 2) @ inputs, self.damping)
        codes = round_columns(
            rows.to_rows(weight).numpy() / scale, scale, zero_point, upper,
            quant.scheme.dtype.code_range,
        )  # fmt: skip
        shaped = rows.from_rows(torch.from_numpy(codes)).numpy()
        stored = np.ascontiguousarray(shaped).astype(quant.scheme.dtype.storage)
        return replace(model, weights={**model.weights, edge: stored})


@dataclass(frozen=True, eq=False)
class InverseFactor:
    """U [groups, k, k] in the order of ``columns`` [groups, k]."""

    upper: Doubles
    columns: npt.NDArray[np.int64]


def inverse_factor(hessian: Doubles, damping: float) -> InverseFactor:
    """The damped inverse's factor of ``hessian`` [groups, k, k], columns by falling diagonal.

    Columns that are never read (their diagonal is 0) get no part in it.
    """
    diagonal = np.diagonal(hessian, axis1=1, axis2=2)
    columns = np.argsort(-diagonal, axis=1, kind="stable")
    ordered = np.take_along_axis(hessian, columns[:, :, None], 1)
    ordered = np.take_along_axis(ordered, columns[:, None, :], 2)
    added = damping * diagonal.mean(axis=1)
    added[added == 0] = 1.0
    ordered += added[:, None, None] * np.eye(hessian.shape[1])
    lower = np.linalg.cholesky(np.linalg.inv(ordered))
    return InverseFactor(np.swapaxes(lower, 1, 2), columns)


def round_columns(
    steps: Doubles,
    scale: Doubles,
    zero_point: Doubles,
    factor: InverseFactor,
    code_range: tuple[int, int],
) -> Doubles:
    """Codes of weights ``steps * scale``, all [groups, n, k], with their errors passed on."""
    places = factor.columns[:, None, :]
    scale = np.take_along_axis(scale, places, 2)
    zero_point = np.take_along_axis(zero_point, places, 2)
    real = np.take_along_axis(steps, places, 2) * scale
    codes, errors, upper = np.empty_like(real), np.empty_like(real), factor.upper
    width = real.shape[2]
    for first in range(0, width, _TOGETHER):
        last = min(first + _TOGETHER, width)
        for q in range(first, last):
            shift = zero_point[:, :, q]
            codes[:, :, q] = np.clip(np.rint(real[:, :, q] / scale[:, :, q]) + shift, *code_range)
            rounded = (codes[:, :, q] - shift) * scale[:, :, q]
            errors[:, :, q] = (real[:, :, q] - rounded) / upper[:, q, q, None]
            real[:, :, q:last] -= errors[:, :, q, None] * upper[:, None, q, q:last]
        real[:, :, last:] -= errors[:, :, first:last] @ upper[:, first:last, last:]
    result = np.empty_like(codes)
    np.put_along_axis(result, np.broadcast_to(places, codes.shape), codes, 2)
    return result
