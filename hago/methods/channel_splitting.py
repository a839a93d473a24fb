"""Channels that stand out are split into copies, each with a part of the value.

    sum_k x_k w_k = sum_k sum_{i=1}^{m_k} (x_k / m_k) w_k

R. Zhao et al., Improving Neural Network Quantization without Retraining using Outlier Channel
Splitting, arXiv 1901.09504, equation 2. The range shrinks and no weight grows: of scaling a channel
down (os_plus) the weights pay the price, here it is a few more channels. As in section 3.2 of the
paper the channel with the largest part is split, again and again. With no channels to spend (a
layer of fewer than 640), or where all reach equally far, nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from tvm.ir import IRModule

from hago.annotate.narrow import WeightFormat
from hago.calibrate.channels import Channels, ChannelStats
from hago.dataflow import Node, read_dataflow
from hago.graph import Edge, QuantGraph
from hago.methods.method import BeforeNumbers, register
from hago.methods.os_plus import WeightNoise, predicted_error
from hago.methods.scaled_copies import best_copies
from hago.prepare import prepare
from hago.prepare.split_channels import Split, region_of, split_channels

_LANES = 16  # kernels compute so many output channels at once
_INPUTS = {"matmul": 0, "nn.conv2d": 3}  # the axis of a weight that runs over its inputs


@register
@dataclass(frozen=True)
class ChannelSplitting(BeforeNumbers):
    """Splits channels of tensors that only products read, computed by products.

    ``share`` of the channels may be added, in whole vectors. A tensor is changed if its range
    shrinks by the factor ``gain``. With ``scales`` what matrix products read is scaled as well, see
    :mod:`hago.methods.scaled_copies`, if the predicted error falls by that factor.
    """

    name: ClassVar[str] = "channel_splitting"
    paper: ClassVar[str] = "Zhao et al., arXiv 1901.09504, equation 2"

    share: float = 0.025
    gain: float = 1.5
    scales: bool = False

    def tensors(self, graph: QuantGraph) -> tuple[str, ...]:
        """The tensors whose channels may be split."""
        return tuple(self._wide(graph))

    def reshape(self, graph: QuantGraph, channels: Channels, weights: WeightFormat) -> IRModule:
        """The prepared module with split channels; the same where nothing is won."""
        found: dict[str, Split] = {}
        for source, readers in self._wide(graph).items():
            if self.scales and all(reader.op == "matmul" for reader in readers):
                noise = [WeightNoise.of(reader, weights) for reader in readers]
                split = self._scaled(channels[source], noise)
            else:
                split = self._split(channels[source], takes_offsets=not any(map(_pads, readers)))
            if split is not None:
                found[source] = split
        return prepare(split_channels(graph.module, found)) if found else graph.module

    def _wide(self, graph: QuantGraph) -> dict[str, list[Node]]:
        """The candidates with so many channels that a vector may be added."""
        return {
            source: readers
            for source, readers in candidates(graph).items()
            if self._extra(int(readers[0].constants[1].shape[_INPUTS[readers[0].op]]))
        }

    def _extra(self, channels: int) -> int:
        return int(self.share * channels / _LANES) * _LANES

    def _split(self, stats: ChannelStats, *, takes_offsets: bool) -> Split | None:
        extra, whole = self._extra(len(stats.mean)), np.ones(len(stats.mean))
        before = stats.judged(lambda _, other: _width(other, whole))
        after = stats.judged(lambda seen, other: _width(other, spend(seen.reach, extra)))
        if before < self.gain * after:
            return None
        copies = spend(stats.reach, extra)
        return Split(copies, _width(stats, copies) / 255 if takes_offsets else 0.0)

    def _scaled(self, stats: ChannelStats, weights: list[WeightNoise]) -> Split | None:
        best = best_copies(stats, weights, self._extra(len(stats.mean)))
        whole = np.ones(len(stats.mean))
        before = stats.judged(
            lambda seen, other: predicted_error(
                other, np.zeros_like(whole), whole, weights, seen
            )
        )
        if best is None or before < self.gain * best.error:
            return None
        step = _width(stats, best.copies * best.scale) / 255
        return Split(best.copies, step, best.scale.astype(np.float32))


def _width(stats: ChannelStats, parts: npt.NDArray[Any]) -> float:
    """From the smallest to the largest value, or zero, of the channels divided by ``parts``."""
    low, high = float((stats.low / parts).min()), float((stats.high / parts).max())
    return max(high, 0.0) - min(low, 0.0)


def spend(reach: npt.NDArray[np.float64], extra: int) -> npt.NDArray[np.int64]:
    """Copies of each channel, ``extra`` more than there are channels: the largest part first."""
    copies = np.ones(len(reach), np.int64)
    for _ in range(extra):
        copies[np.argmax(reach / copies)] += 1
    return copies


def candidates(graph: QuantGraph) -> dict[str, list[Node]]:
    """Tensors of codes whose channels can be split, with what reads them."""
    dataflow = read_dataflow(graph.module)
    nodes, users = dataflow.by_name(), dataflow.users()
    found: dict[str, list[Node]] = {}
    for node in dataflow.nodes:
        edges = [Edge(node.name, dst, arg) for dst, arg in users.get(node.name, ())]
        codes = any(s.is_quantized for edge in edges for s in graph.choices.get(edge, ()))
        if codes and region_of(dataflow, node):
            found[node.name] = [nodes[edge.dst] for edge in edges]
    return found


def _pads(node: Node) -> bool:
    """Whether ``node`` reads zeros beside its input: an offset would be missing there."""
    return node.op == "nn.conv2d" and any(int(p) for p in node.call.attrs.padding)
