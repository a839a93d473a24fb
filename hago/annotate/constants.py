"""The float weights behind constant edges."""

from __future__ import annotations

from hago.dataflow import read_dataflow
from hago.graph import Edge, QuantGraph
from hago.scheme import Array


def constant_edges(graph: QuantGraph) -> dict[Edge, Array]:
    """The constant tensor of every edge whose source is a constant."""
    return {
        edge: node.constants[arg]
        for node in read_dataflow(graph.module).nodes
        for arg, name in enumerate(node.inputs)
        if arg in node.constants and (edge := Edge(name, node.name, arg)) in graph.choices
    }
