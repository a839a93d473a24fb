"""Channels of neighbouring layers get equal ranges of weights.

    s_i = sqrt(r1_i r2_i) / r2_i,    r1_i = max |W1_i| of output i,  r2_i = max |W2_i| of input i

M. Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction,
arXiv 1906.04721, equation 11: W1 is divided by s, W2 multiplied, which makes both ranges
``sqrt(r1_i r2_i)``. Layers in a row are equalized in turns until nothing moves. Where the two
ranges of a channel are equal, s is 1; a channel without weights on one side keeps its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from tvm.ir import IRModule

from hago.annotate.narrow import WeightFormat
from hago.calibrate.channels import Channels
from hago.dataflow import Dataflow, Node, read_dataflow
from hago.graph import Edge, QuantGraph
from hago.methods.method import BeforeNumbers, register
from hago.prepare import prepare
from hago.prepare.equalize_layers import equalize_layers, passage
from hago.prepare.scale_channels import by_input_channel

Doubles = npt.NDArray[np.float64]
_SETTLED = 1e-3  # factors nearer to 1 than this are none


@dataclass(frozen=True, eq=False)
class Pair:
    """The layers before and after a tensor; there may be several after it."""

    before: Node
    after: tuple[Node, ...]


@register
@dataclass(frozen=True)
class Equalize(BeforeNumbers):
    """Cross-layer equalization, at most ``turns`` times over all pairs of layers."""

    name: ClassVar[str] = "equalize"
    paper: ClassVar[str] = "Nagel et al., arXiv 1906.04721, equation 11"

    turns: int = 40

    def tensors(self, graph: QuantGraph) -> tuple[str, ...]:
        """The tensors between two layers. Their data is not looked at: the method needs none."""
        return tuple(pairs(graph))

    def reshape(self, graph: QuantGraph, channels: Channels, weights: WeightFormat) -> IRModule:
        """The prepared module with equalized layers; the same where they are equal already."""
        found = factors(pairs(graph), self.turns)
        moved = {name: s for name, s in found.items() if np.abs(s - 1).max() > _SETTLED}
        if not moved:
            return graph.module
        narrow = {name: s.astype(np.float32) for name, s in moved.items()}
        return prepare(equalize_layers(graph.module, narrow))


def pairs(graph: QuantGraph) -> dict[str, Pair]:
    """The layers around each tensor of codes that has one before it and only such after it."""
    dataflow = read_dataflow(graph.module)
    nodes, users = dataflow.by_name(), dataflow.users()
    found: dict[str, Pair] = {}
    for node in dataflow.nodes:
        way = passage(dataflow, node) if _has_codes(graph, dataflow, node) else None
        if way is not None:
            found[node.name] = Pair(way.before, tuple(nodes[user] for user, _ in users[node.name]))
    return found


def factors(found: Mapping[str, Pair], turns: int) -> dict[str, Doubles]:
    """``s`` of each tensor, float64 [C]."""
    layers = {node.name: node for pair in found.values() for node in (pair.before, *pair.after)}
    weights = {name: node.constants[1].astype(np.float64) for name, node in layers.items()}
    total: dict[str, Doubles] = {}
    for _ in range(turns):
        largest = 0.0
        for name, pair in found.items():
            s = _factor(pair, weights)
            weights[pair.before.name] = weights[pair.before.name] / _by_output(pair.before, s)
            for node in pair.after:
                weights[node.name] = weights[node.name] * by_input_channel(node, s)
            total[name] = total.get(name, np.ones_like(s)) * s
            largest = max(largest, float(np.abs(s - 1).max()))
        if largest < _SETTLED:
            break
    return total


def _factor(pair: Pair, weights: Mapping[str, Doubles]) -> Doubles:
    """Equation 11, float64 [C]."""
    before = np.abs(weights[pair.before.name])
    axis = 0 if pair.before.op == "nn.conv2d" else 1
    first = before.max(axis=tuple(i for i in range(before.ndim) if i != axis))
    second = np.max([_input_range(node, weights[node.name]) for node in pair.after], axis=0)
    known = (first > 0) & (second > 0)
    return np.sqrt(np.divide(first, second, where=known, out=np.ones_like(first)))


def _by_output(node: Node, per_channel: Doubles) -> Doubles:
    """One value an output channel, in a shape that broadcasts against the weights of ``node``."""
    return per_channel.reshape((-1, 1, 1, 1) if node.op == "nn.conv2d" else (1, -1))


def _input_range(node: Node, weight: Doubles) -> Doubles:
    """The largest magnitude of each input channel's weights, [C]."""
    if node.op == "matmul":
        return np.asarray(np.abs(weight).max(axis=1))
    groups = int(node.call.attrs.groups)
    split = np.abs(weight).reshape(groups, -1, *weight.shape[1:])
    return np.asarray(split.max(axis=(1, 2, 3)).reshape(-1))


def _has_codes(graph: QuantGraph, dataflow: Dataflow, node: Node) -> bool:
    edges = (Edge(node.name, dst, arg) for dst, arg in dataflow.users().get(node.name, ()))
    return any(s.is_quantized for edge in edges for s in graph.choices.get(edge, ()))
