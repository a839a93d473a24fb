"""Weights rounded column by column, each rounding error spread over the columns to come.

    H = X^T X + damping * mean(diag(H)) I,   H^-1 = U^T U with U upper triangular
    e = (w_q - round(w_q)) / U_qq,           w_later -= e U_q,later

Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers,
arXiv 2210.17323 (ICLR 2023), equations 1 to 3 and algorithm 1, with the Cholesky form of its
section 3.3. Columns go in the order of H's diagonal, the largest first, and scales stay what they
are ("act-order" and "static groups" of the authors' code). The loop over the columns is that of
:mod:`hago.methods.obc`, whose ``H`` is that of the float model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from hago.calibrate import Stats
from hago.gradient.fake_quantize import numbers_of
from hago.graph import QuantModel
from hago.methods.blocks import single_layers
from hago.methods.layer_rows import quantized_rows
from hago.methods.method import register
from hago.methods.obc import round_weights
from hago.methods.reconstruction import BlockData, reconstruct


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
        rows = quantized_rows(model, data, self.rows, self.seed)
        scale, zero_point = (
            rows.to_rows(numbers.expand(weight.shape)).numpy().astype(np.float64)
            for numbers in numbers_of(quant, tuple(weight.shape))
        )
        inputs = rows.quantized.numpy().astype(np.float64)
        codes = round_weights(
            rows.to_rows(weight).numpy(), scale, zero_point, np.swapaxes(inputs, 1, 2) @ inputs,
            self.damping, quant.scheme.dtype.code_range,
        )  # fmt: skip
        stored = rows.own_form(codes).astype(quant.scheme.dtype.storage)
        return replace(model, weights={**model.weights, edge: stored})
