"""Channels that stand out are shifted and scaled before they are quantized.

X. Wei et al., Outlier Suppression+, arXiv 2304.09145: a shift ``z = (max + min) / 2`` for each
channel (equation 3) and a scale ``s = max(1, max / t, -min / t)`` (section 4.2) with the threshold
``t`` from a one-dimensional grid by the error of the output. The error is predicted rather than
measured: rounding with step ``d`` adds noise of power ``d^2 / 12`` (B. Widrow and I. Kollar,
Quantization Noise, 2008, chapter 4), which products pass on by the squares of their other operand.

    error(s) = sum_k (d_x s_k)^2 / 12 sum_n w_kn^2  +  sum_n d_n(s)^2 / 12 sum_k E[x_k^2] / s_k^2

``d_x`` is the step of the activation after scaling, ``d_n`` that of the weights of output ``n``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from tvm.ir import IRModule

from hago.annotate.narrow import WeightFormat
from hago.calibrate.channels import Channels, ChannelStats
from hago.dataflow import Dataflow, Node, read_dataflow
from hago.graph import Edge, QuantGraph
from hago.methods.method import BeforeNumbers, register
from hago.prepare import prepare
from hago.prepare.scale_channels import ChannelScale, is_weighted, scale_channels

Doubles = npt.NDArray[np.float64]
# What rounding that makes up for its errors (obc) leaves of the error of rounding to nearest: 7 dB
# less on EfficientNet-Lite0, whose error is nearly all of its weights. Inputs of a transformer's
# products are less alike: of 0.25, 0.5 and 1, MiniLM loses least with 0.5.
_LEFT, _LEFT_MATMUL = 0.25, 0.5
_GRID = 0.8 ** np.arange(24)  # thresholds as parts of the largest reach, down to a 200th


@register
@dataclass(frozen=True)
class OsPlus(BeforeNumbers):
    """Reshapes tensors that only products with constant weights read as codes.

    ``gain`` is the factor by which the predicted error must fall for a tensor to be changed.
    """

    name: ClassVar[str] = "os_plus"
    paper: ClassVar[str] = "Wei et al., arXiv 2304.09145, equations 3 and 4"

    gain: float = 2.0

    def tensors(self, graph: QuantGraph) -> tuple[str, ...]:
        """The tensors whose channels may be scaled."""
        return tuple(candidates(graph))

    def reshape(self, graph: QuantGraph, channels: Channels, weights: WeightFormat) -> IRModule:
        """The prepared module with scaled channels; the same where nothing is won."""
        found: dict[str, ChannelScale] = {}
        for source, readers in candidates(graph).items():
            noise = [WeightNoise.of(node, weights) for node in readers]
            best = best_scale(channels[source], noise, self.gain)
            if best is not None:
                found[source] = best
        return prepare(scale_channels(graph.module, found)) if found else graph.module


def candidates(graph: QuantGraph) -> dict[str, list[Node]]:
    """Tensors whose readers of codes are all products with constant weights, with these."""
    dataflow = read_dataflow(graph.module)
    nodes, users = dataflow.by_name(), dataflow.users()
    found: dict[str, list[Node]] = {}
    for node in dataflow.nodes:
        readers = [
            nodes.get(dst)
            for dst, arg in users.get(node.name, ())
            if _has_codes(graph, Edge(node.name, dst, arg))
        ]
        weighted = [reader for reader in readers if reader is not None and is_weighted(reader)]
        if weighted and len(weighted) == len(readers) and _is_computed(dataflow, node):
            found[node.name] = weighted
    return found


def _has_codes(graph: QuantGraph, edge: Edge) -> bool:
    return any(scheme.is_quantized for scheme in graph.choices.get(edge, ()))


def _is_computed(dataflow: Dataflow, node: Node) -> bool:
    """Whether a kernel writes ``node`` and can scale it on the way: not so for moves of data."""
    return node.op in _COMPUTED


_COMPUTED = frozenset(
    {"add", "subtract", "multiply", "divide", "clip", "nn.relu", "nn.gelu", "nn.silu", "sigmoid",
     "tanh", "nn.layer_norm", "nn.rms_norm", "nn.conv2d", "matmul", "nn.leakyrelu"}
)  # fmt: skip


def best_scale(
    stats: ChannelStats, weights: list[WeightNoise], gain: float
) -> ChannelScale | None:
    """The best of the grid for what ``weights`` read, with and without a shift; None where the
    predicted error falls by less than the factor ``gain``.

    A trial has two errors: of what all rows suggest on these same rows, which know most; and of
    what half of them suggest on the other half, which tells what is chance. Their sum chooses, the
    second alone says what is won.
    """
    # Others pad with zero.
    shifts = (False, True) if all(each.is_matmul for each in weights) else (False,)
    grid = list(product(shifts, _GRID))

    def error(trial: tuple[bool, float]) -> float:
        return predicted_error(stats, *_trial(stats, *trial), weights)

    def judged(trial: tuple[bool, float]) -> float:
        return stats.judged(
            lambda seen, other: predicted_error(other, *_trial(seen, *trial), weights, seen)
        )

    best = min(grid, key=lambda trial: error(trial) + judged(trial))
    if best == grid[0] or judged(grid[0]) < gain * judged(best):
        return None
    shift, scale = _trial(stats, *best)
    return ChannelScale.of(scale, shift)


def _trial(stats: ChannelStats, is_centred: bool, part: float) -> tuple[Doubles, Doubles]:
    """A shift, and the scale ``max(1, reach / t)`` with ``part`` of the largest reach as ``t``: the
    first of the grid changes nothing.

    No threshold is below the median reach: what few samples show of the smaller half of the
    channels is no proof that these stay small.
    """
    shift = (stats.low + stats.high) / 2 if is_centred else np.zeros_like(stats.mean)
    reach = stats.less(shift).reach
    largest = max(float(reach.max()), float(np.finfo(np.float32).tiny))
    threshold = max(largest * part, float(np.median(reach)))
    return shift, np.maximum(1.0, reach / threshold)


@dataclass(frozen=True, eq=False)
class WeightNoise:
    """Weights by input channel: ``power`` [C] sums squares over outputs and taps.

    ``largest`` [C, N] is the largest magnitude over the taps of an output: its row of one channel
    for depthwise convolutions (``is_depthwise``), where output n reads channel n alone. ``levels``
    is the largest code; ``group`` inputs have a scale of their own.
    """

    power: Doubles
    largest: Doubles
    taps: int
    is_depthwise: bool
    is_matmul: bool
    levels: int
    group: int

    @staticmethod
    def of(node: Node, form: WeightFormat) -> WeightNoise:
        """Of the product ``node`` with weights in ``form``."""
        weight, levels = node.constants[1].astype(np.float64), 2 ** (form.bits - 1) - 1
        if node.op == "matmul":
            inputs = len(weight)
            size = form.group if form.group and inputs % form.group == 0 else inputs
            power = np.square(weight).sum(axis=1)
            return WeightNoise(power, np.abs(weight), 1, False, True, levels, size)
        groups = int(node.call.attrs.groups)
        taps = weight.shape[1] * weight.shape[2]
        if groups == 1:
            largest = np.abs(weight).max(axis=(1, 2)).T
            power = np.square(weight).sum(axis=(0, 1, 2))
            return WeightNoise(power, largest, taps, False, False, levels, len(power))
        # Outputs of a group read its channels only: [groups, outputs, kh, kw, channels].
        split = weight.reshape(groups, -1, *weight.shape[1:])
        power = np.square(split).sum(axis=(1, 2, 3)).reshape(-1)
        largest = np.abs(split).max(axis=(1, 2, 3)).reshape(-1, 1)
        return WeightNoise(power, largest, taps * split.shape[1], True, False, levels, 1)


def predicted_error(
    stats: ChannelStats,
    shift: Doubles,
    scale: Doubles,
    weights: Sequence[WeightNoise],
    seen: ChannelStats | None = None,
) -> float:
    """The predicted error of all readers (see the top), 12 times.

    The range is that of what was ``seen``, the rows themselves if nothing else is said. The largest
    value of a channel that is beyond it is clipped, in one row at least.
    """
    known, shifted = (seen or stats).less(shift), stats.less(shift)
    low = min(float((known.low / scale).min()), 0.0)
    high = max(float((known.high / scale).max()), 0.0)
    step = (high - low) / 255
    beyond = np.maximum(shifted.high - high * scale, low * scale - shifted.low).clip(min=0)
    rounded, clipped = np.square(step * scale), 12 * np.square(beyond) / stats.rows
    power = shifted.square / np.square(scale)
    return sum(
        float(((rounded + clipped) * each.power).sum()) + _weight_error(each, scale, power)
        for each in weights
    )


def _weight_error(weights: WeightNoise, scale: Doubles, power: Doubles) -> float:
    """Noise of the weights' rounding; ``power`` is that of the scaled input channels."""
    left = _LEFT_MATMUL if weights.is_matmul else _LEFT
    steps = np.square(weights.largest * scale[:, np.newaxis] / weights.levels)
    if weights.is_depthwise:
        return left * float((steps[:, 0] * power).sum()) * weights.taps
    grouped = steps.reshape(-1, weights.group, steps.shape[1]).max(axis=1).sum(axis=1)
    powers = power.reshape(-1, weights.group).sum(axis=1)
    return left * float((grouped * powers).sum()) * weights.taps
