"""Scales that are powers of two: requantizing is a shift of the accumulator.

    s' = 2^floor(log2 s)  or  2^ceil(log2 s),  whichever loses less

S. Jain et al., Trained Quantization Thresholds, arXiv 1903.08066, section 3.1 (equation 4 rounds
up; here the error of the values decides). Zero points stay, so a range grows or shrinks about zero.
A scale that is a power of two already stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.graph import Edge, QuantModel
from hago.methods.method import register
from hago.methods.weight_mse import sums_by_scale
from hago.scheme import Array, Floats, TensorQuant

ErrorOf = Callable[[TensorQuant], Array]


@register
@dataclass(frozen=True)
class PowerOfTwo:
    """Rounds the scales of all codes, so it comes after what sets ranges and before what rounds
    weights."""

    name: ClassVar[str] = "power_of_two"
    paper: ClassVar[str] = "Jain et al., arXiv 1903.08066, section 3.1"

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with other scales; codes of weights chosen before are dropped."""
        weights = constant_edges(model.graph)
        quants: dict[Edge, TensorQuant] = {}
        for edges in _with_one_quant(model):
            quant = model.quants[edges[0]]
            if edges[0] in weights:
                error = _weight_error(weights[edges[0]])
            else:
                error = _data_error(stats, sorted({edge.src for edge in edges}))
            quants.update(dict.fromkeys(edges, rounded(quant, error)))
        return QuantModel(model.graph, model.strategy, {**model.quants, **quants})


def rounded(quant: TensorQuant, error_of: ErrorOf) -> TensorQuant:
    """``quant`` with powers of two for scales, the better of both neighbours by ``error_of``, which
    gives the error of each scale."""
    exponents = np.log2(quant.scale.astype(np.float64))
    down, up = (_with_scale(quant, side(exponents)) for side in (np.floor, np.ceil))
    is_down = error_of(down) < error_of(up)
    scale = np.where(is_down, down.scale, up.scale)
    return TensorQuant(quant.scheme, scale, quant.zero_point)


def _with_scale(quant: TensorQuant, exponents: Array) -> TensorQuant:
    scale = np.exp2(exponents).astype(np.float32)
    return TensorQuant(quant.scheme, scale, quant.zero_point)


def _with_one_quant(model: QuantModel) -> list[list[Edge]]:
    """The edges with codes, those with the same numbers together."""
    groups: dict[int, list[Edge]] = {}
    for edge, scheme in model.strategy.items():
        if scheme.is_quantized:
            groups.setdefault(id(model.quants[edge]), []).append(edge)
    return list(groups.values())


def _weight_error(weight: Floats) -> ErrorOf:
    def error(quant: TensorQuant) -> Array:
        lost = np.square(quant.decode(quant.encode(weight)) - weight)
        return sums_by_scale(lost, quant.scheme)

    return error


def _data_error(stats: Stats, sources: list[str]) -> ErrorOf:
    """Over the histograms of all tensors ``sources``, exact zeros left out."""

    def error(quant: TensorQuant) -> Array:
        total = 0.0
        for source in sources:
            histogram = stats[source].histogram
            values = histogram.centers.astype(np.float32)
            lost = np.square(quant.decode(quant.encode(values)) - values)
            total += float(histogram.nonzero_counts @ lost)
        return np.asarray(total)

    return error
