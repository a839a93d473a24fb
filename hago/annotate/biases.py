"""The biases behind layers with constant weights."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hago.annotate.operators import MOVES
from hago.dataflow import Node, read_dataflow
from hago.graph import Edge, QuantGraph, QuantModel
from hago.scheme import Floats

# Where an argument below zero, or at it, has no result or an infinite one.
_ABOVE_ZERO = {("log", 0), ("sqrt", 0), ("rsqrt", 0), ("power", 0), ("divide", 1)}
Users = Mapping[str, Sequence[tuple[str, int]]]  # of Dataflow.users


@dataclass(frozen=True, eq=False)
class Bias:
    """The float ``value`` [.., C] that a layer adds to its channels, and the edge it is on."""

    edge: Edge
    value: Floats


def biases_behind(graph: QuantGraph) -> dict[Edge, Bias]:
    """The bias of each layer that has one, by the edge of the layer's weights, in program order."""
    dataflow = read_dataflow(graph.module)
    nodes, users = dataflow.by_name(), dataflow.users()
    found = {}
    for node in dataflow.nodes:
        if node.op in ("nn.conv2d", "matmul") and 1 in node.constants:
            bias = bias_of(node, nodes, users)
            if bias is not None:
                found[Edge(node.inputs[1], node.name, 1)] = _bias(bias)
    return found


def bias_of(product: Node, nodes: Mapping[str, Node], users: Users) -> Node | None:
    """The addition of a constant to channels that alone reads ``product``; None where there is
    none, or where it keeps a logarithm's or a root's argument above zero."""
    readers = users.get(product.name, ())
    node = nodes.get(readers[0][0]) if len(readers) == 1 else None
    if node is None or node.op != "add" or 1 not in node.constants:
        return None
    return node if node.shape == product.shape and not _is_guard(node, nodes, users) else None


def _is_guard(node: Node, nodes: Mapping[str, Node], users: Users) -> bool:
    """Whether something that needs an argument above zero reads ``node``, as it is or moved."""
    readers = [(nodes[name], arg) for name, arg in users.get(node.name, ()) if name in nodes]
    return any(
        (reader.op, arg) in _ABOVE_ZERO
        or (reader.op in MOVES and _is_guard(reader, nodes, users))
        for reader, arg in readers
    )


def _bias(node: Node) -> Bias:
    own = node.constants[1].astype(np.float32, copy=False)
    spread = np.broadcast_to(own, np.broadcast_shapes(own.shape, node.shape[-1:]))
    return Bias(Edge(node.inputs[1], node.name, 1), np.ascontiguousarray(spread))


def biases_of(model: QuantModel) -> dict[Edge, Bias]:
    """The biases of the layers whose weights ``model`` quantizes, as it has them."""
    return {
        edge: Bias(bias.edge, model.biases.get(bias.edge, bias.value))
        for edge, bias in biases_behind(model.graph).items()
        if edge in model.strategy
    }


def biases_without(model: QuantModel, edges: Container[Edge]) -> dict[Edge, Floats]:
    """The biases that ``model`` chose, but for layers whose weights are on one of ``edges``."""
    gone = {bias.edge for edge, bias in biases_behind(model.graph).items() if edge in edges}
    return {edge: bias for edge, bias in model.biases.items() if edge not in gone}
