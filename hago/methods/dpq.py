"""Weights stored as 4-bit codes in groups, computed in an 8-bit float: both roundings in one loop.

    w8  = c * fp8(clip(w / c, -p, p))       p = 7/8 of the largest: codes to -8 cannot overflow
    s_g = argmin over s below max |w8_g| / 7 of  sum_k H_kk (w8_k - w^_k)^2
    w^  = c * fp8(s_g / c * q),  q = clip(round(w / s_g), -8, 7)
    e_k = (w_k - w^_k) / U_kk,   w_j -= e_k U_kj   for the inputs j that come later

T. Gafni et al., Dual Precision Quantization, arXiv 2505.14638 (CVPR workshops 2025): a power of two
``c`` for the tensor, the protective range ``p``, scales of groups that are fitted on the 8-bit
weights, GPTQ's loop with the error of both roundings, and group-aware reordering: whole groups in
falling order of the largest power of their inputs, inputs likewise inside of each, so that nothing
is moved when the model runs. ``U`` is the factor of :mod:`hago.methods.obc`. The paper's objective
compares with what the float layer gives for its own inputs; what of that can be told from the
quantized inputs is added to ``w`` first, as :mod:`hago.methods.gptaq` does. A group's scales are
chosen when the loop reaches it, for the weights as they are then; with ``shares`` of 1 they are the
paper's largest magnitudes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from hago.calibrate import Stats
from hago.float8 import FORMATS, round_float8
from hago.graph import QuantModel
from hago.methods.blocks import single_layers
from hago.methods.gptaq import corrected
from hago.methods.layer_rows import quantized_rows
from hago.methods.method import register
from hago.methods.obc import inverse_factor
from hago.methods.reconstruction import BlockData, reconstruct
from hago.scheme import Array, PerGroup, TensorQuant

Doubles = npt.NDArray[np.float64]


@register
@dataclass(frozen=True)
class Dpq:
    """Sets codes and scales of weights that are stored as integers for an 8-bit float.

    ``samples`` of the data give ``rows`` positions a layer. ``damping`` is the part of the mean
    power that is added to every input's. ``shares`` scales of a group are tried, from the one that
    covers it down to ``smallest`` of that. ``reorder`` takes inputs of more power first.
    ``on_floats`` is the control: scales, codes and errors of the float weights alone, as if nothing
    were rounded to an 8-bit float afterwards.
    """

    name: ClassVar[str] = "dpq"
    paper: ClassVar[str] = "Gafni et al., arXiv 2505.14638"
    extra: ClassVar[str] = "torch"
    damping: float = 0.01
    samples: int = 512
    rows: int = 16384
    shares: int = 24
    smallest: float = 0.6
    reorder: bool = True
    on_floats: bool = False
    seed: int = 0
    cache: str = ""

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with new numbers and codes for all such weights."""
        return reconstruct(self, single_layers, self._solve, model, stats)

    def _solve(self, model: QuantModel, data: BlockData) -> QuantModel:
        ((edge, weight),) = data.weight_edges(model).items()
        quant = model.quants[edge]
        if quant.scheme.computed_in is None:
            return model
        rows = quantized_rows(model, data, self.rows, self.seed)
        moments = (rows.quantized.transpose(1, 2) @ rows.quantized / rows.count).numpy()
        found = [
            Layer(self, quant, wanted.T, power).solve()
            for wanted, power in zip(corrected(rows, weight), moments, strict=True)
        ]
        stored = rows.own_form(np.stack([codes.T for codes, _ in found]))
        scale = np.concatenate([scale for _, scale in found], axis=1)
        numbers = TensorQuant(quant.scheme, scale.reshape(quant.scale.shape), quant.zero_point)
        return replace(
            model.with_quants({edge: numbers}),
            weights={**model.weights, edge: stored.astype(quant.scheme.dtype.storage)},
        )


class Layer:
    """One product with ``weight`` [K, N] and the ``moments`` [K, K] of its inputs."""

    def __init__(self, options: Dpq, quant: TensorQuant, weight: Doubles, moments: Array) -> None:
        assert quant.scheme.computed_in is not None
        granularity = quant.scheme.granularity
        self.options = options
        self.size = granularity.size if isinstance(granularity, PerGroup) else len(weight)
        self.kind = quant.scheme.computed_in.kind
        self.low, self.high = quant.scheme.dtype.code_range
        self.protected = FORMATS[self.kind].largest * self.high / -self.low
        self.common = float(common_scale(weight, self.protected))
        self.weight, self.moments = weight, moments
        self.power = np.maximum(np.diagonal(moments).astype(np.float64), 0.0)

    def solve(self) -> tuple[Doubles, Doubles]:
        """Codes [K, N] and scales [groups, N]."""
        order = self._order()
        factor = inverse_factor(self.moments[None][:, order][:, :, order], self.options.damping)[0]
        rest, power = self.weight[order], self.power[order]
        codes = np.empty_like(rest)
        scales = np.empty((len(rest) // self.size, rest.shape[1]))
        for start in range(0, len(rest), self.size):
            stop = start + self.size
            scale = self._fitted(rest[start:stop], power[start:stop])
            errors = np.empty_like(rest[start:stop])
            for k in range(start, stop):
                codes[k], value = self._rounded(rest[k], scale)
                errors[k - start] = (rest[k] - value) / factor[k, k]
                rest[k + 1 : stop] -= factor[k, k + 1 : stop, None] * errors[k - start]
            rest[stop:] -= factor[start:stop, stop:].T @ errors
            scales[order[start] // self.size] = scale
        back = np.argsort(order)
        return codes[back], scales

    def _order(self) -> npt.NDArray[np.intp]:
        """Inputs of more power first, whole groups and inside of them."""
        if not self.options.reorder:
            return np.arange(len(self.power))
        groups = self.power.reshape(-1, self.size)
        first = np.argsort(-groups.max(axis=1), kind="stable")
        inside = np.argsort(-groups, axis=1, kind="stable")
        return np.asarray((inside[first] + first[:, None] * self.size).reshape(-1))

    def _fitted(self, weight: Doubles, power: Doubles) -> Doubles:
        """The scale of each column of a group [size, N]."""
        bound = self.protected * self.common
        clipped = np.clip(weight, -bound, bound)
        target = self._in_float8(clipped)
        widest = np.abs(target).max(axis=0) / self.high
        widest = np.where(widest > 0, widest, self.common * 2.0**-9)
        best, least = widest, np.full(widest.shape, np.inf)
        for share in np.linspace(1.0, self.options.smallest, self.options.shares):
            _, value = self._rounded(target, widest * share)
            error = (power[:, None] * np.square(target - value)).sum(axis=0)
            better = error < least
            best, least = np.where(better, widest * share, best), np.where(better, error, least)
        return best.astype(np.float32).astype(np.float64)

    def _rounded(self, real: Doubles, scale: Doubles) -> tuple[Doubles, Doubles]:
        """Codes, and what they stand for in the 8-bit float."""
        codes = np.clip(np.rint(real / scale), self.low, self.high)
        return codes, self._in_float8(codes * scale)

    def _in_float8(self, real: Doubles) -> Doubles:
        if self.options.on_floats:
            return real
        rounded = round_float8((real / self.common).astype(np.float32), self.kind)
        return rounded.astype(np.float64) * self.common


def common_scale(weight: Array, protected: float) -> np.float64:
    """The least power of two that brings all of ``weight`` into the protected range."""
    largest = float(np.abs(weight).max())
    return np.float64(2.0 ** np.ceil(np.log2(largest / protected)) if largest else 1.0)
