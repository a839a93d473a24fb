"""What is the same in every sample falls onto codes: offsets of half a step, for nothing.

Most tokens of a transformer attend to one that says little, often the first (G. Xiao et al.,
Efficient Streaming Language Models with Attention Sinks, arXiv 2309.17453). Its value goes into all
outputs, so its rounding error does not average out, and R. Liu et al., IntactKV, arXiv 2403.01241,
keep such "pivot tokens" unquantized (section 3). What a pivot holds hardly depends on the sample.
So no float copy is needed here: of a channel with step ``d`` the tensor is moved by at most
``d / 2``, until the pivot's mean is a multiple of ``d``, and the bias of what reads it takes that
back.

    x W + b  =  (x - o) W + (b + o W)        o = argmin over |o| <= d/2 of  E (q(p - o) - (p - o))^2

Values of attention are moved in their own bias (shares of a softmax sum to one), what their layers
read where a constant is added to it anyway. In MiniLM the first token has two thirds of the error
that rounding these two costs; this takes most of it where it varies by less than half a step.

Nor is a pivot clipped. To a range it is one position of many; clipped by three steps in one channel
of 384 it cost 7 dB of what rounding that tensor costs MiniLM's results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hago.calibrate import Stats
from hago.calibrate.positions import Positions, PositionStats
from hago.dataflow import Dataflow, read_dataflow
from hago.graph import QuantGraph, QuantModel
from hago.methods.assign import Range, with_ranges
from hago.methods.attention import find_attention
from hago.methods.method import register
from hago.methods.moved_channels import (
    Doubles,
    Movable,
    common_numbers,
    movable,
    movable_for_all,
    move,
)
from hago.scheme import TensorQuant

_OFFSETS = np.arange(-32, 32) / 64  # parts of a step


@register
@dataclass(frozen=True)
class IntactPivots:
    """Changes biases, after ranges are found, and ranges that a pivot is outside of.

    A position counts for a channel where its standard deviation over the samples is below ``still``
    steps: beyond, where it falls is chance. No range grows by more than the factor ``wider``.
    """

    name: ClassVar[str] = "intact_pivots"
    paper: ClassVar[str] = "Liu et al., arXiv 2403.01241, section 3"
    keeps_function: ClassVar[bool] = True

    still: float = 0.5
    wider: float = 1.25

    def positions(self, graph: QuantGraph) -> tuple[str, ...]:
        """The tensors whose positions it wants to see."""
        return tuple(each.source.name for each in _movable(read_dataflow(graph.module)))

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with other biases in its module, and wider ranges."""
        sources = {each.source.name: each for each in _movable(read_dataflow(model.graph.module))}
        known = {name: seen for name in sources if (seen := stats.positions.get(name))}
        model = with_ranges(model, self._wider(model, known))
        found = (
            (sources[name], offsets(known[name], float(quant.scale), self.still))
            for name, quant in common_numbers(model, known).items()
        )
        return move(model, [(each, offset) for each, offset in found if offset.any()])

    def _wider(self, model: QuantModel, known: Positions) -> dict[str, Range]:
        """The ranges that leave out a position in most samples, now with its mean."""
        found: dict[str, Range] = {}
        for name, quant in common_numbers(model, known).items():
            (first, last), seen = _range(quant), known[name]
            outside = np.maximum(seen.mean - last, first - seen.mean)
            # Of half a step the offsets take care.
            is_clipped = (outside > quant.scale / 2) & (np.square(outside) > seen.variance)
            means = seen.mean[is_clipped]
            low, high = min([first, *means]), max([last, *means])
            if quant.scheme.symmetric:
                low, high = min(low, -high), max(high, -low)
            if means.size and high - low <= self.wider * (last - first):
                found[name] = low, high
        return found


def offsets(seen: PositionStats, step: float, still: float) -> Doubles:
    """For each channel the part of a step, in units of the tensor, that brings the means of the
    positions that keep still nearest to multiples of ``step``; 0 where there are none."""
    counts = (seen.variance < np.square(still * step)).astype(np.float64)
    errors = []
    for part in _OFFSETS:
        places = seen.mean / step - part
        errors.append((np.square(places - np.rint(places)) * counts).sum(axis=0))
    best = _OFFSETS[np.argmin(errors, axis=0)]
    return np.where(counts.any(axis=0), best * step, 0.0)


def _range(quant: TensorQuant) -> Range:
    """The smallest and the largest value with a code, the same magnitude where symmetric."""
    low, high = (float(quant.decode(np.asarray(code))) for code in quant.scheme.dtype.code_range)
    return (-high if quant.scheme.symmetric else low), high


def _movable(dataflow: Dataflow) -> Iterator[Movable]:
    """Values of attention, and what the layers that compute them read."""
    nodes, users = dataflow.by_name(), dataflow.users()
    found: dict[str, Movable | None] = {}
    for each in find_attention(dataflow):
        value = nodes[each.value]
        found[value.name] = movable(value, [each.reader], each.carried, nodes, users)
        layer = nodes[value.inputs[0]] if value.op == "add" else value
        source = nodes.get(layer.inputs[0])
        if source is not None and source.name not in found:
            found[source.name] = movable_for_all(source, nodes, users)
    yield from (each for each in found.values() if each is not None)
