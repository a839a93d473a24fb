"""Which tensors never leave the registers: elementwise operations ride on an accumulator."""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx

from hago.annotate.operators import is_anchor, is_elementwise
from hago.dataflow import Dataflow, Node
from hago.shifted_exp import shifted_exp

# What an integer (fixed-point) requantization can express after an anchor, beside a bias.
_FIXED_POINT = frozenset({"nn.relu", "clip"})


def carried_edges(dataflow: Dataflow, requantize: str) -> dict[tuple[str, int], str]:
    """(operation, argument) -> the operation in whose registers that argument arrives.

    A chain starts at an anchor (or at an elementwise operation that reads memory) and takes in
    the elementwise operations of its shape after it, up to one value that is needed elsewhere.
    Of two anchors that meet in an addition the later takes it: the other's result is in memory
    by then. With ``requantize="fixed_point"`` only a constant bias, relu and clip can follow. The
    exp of what is left of a softmax is one kernel on every machine.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from((node.name, {"node": node}) for node in dataflow.nodes)
    graph.add_edges_from(
        (name, node.name) for node in dataflow.nodes for name in node.inputs if name in graph
    )
    graph.add_edges_from((name, "output") for name in dataflow.outputs if name in graph)
    claimed = _within_shifted_exp(dataflow)
    anchors = [node for node in dataflow.nodes if is_anchor(node)]
    starters = [node for node in dataflow.nodes if is_elementwise(node)]
    for start in [*reversed(anchors), *starters]:
        if start.name not in claimed:
            members = _closed(graph, _reach(graph, start, claimed, requantize), start.name)
            claimed.update(dict.fromkeys(members, start.name))
    return {
        (node.name, arg): claimed[name]
        for node in dataflow.nodes
        for arg, name in enumerate(node.inputs)
        if name in claimed and claimed.get(node.name) == claimed[name]
    }


def _within_shifted_exp(dataflow: Dataflow) -> dict[str, str]:
    nodes = dataflow.by_name()
    found = {node.name: shifted_exp(nodes, node) for node in dataflow.nodes}
    return {
        member: name
        for name, inner in found.items()
        if inner is not None
        for member in (*inner.members, name)
    }


def _reach(
    graph: nx.DiGraph, start: Node, claimed: Iterable[str], requantize: str
) -> list[str]:
    """``start`` and every elementwise operation of its shape that can follow, in order."""
    found, members = [start.name], {start.name}
    for name in nx.lexicographical_topological_sort(
        graph.subgraph(nx.descendants(graph, start.name))
    ):
        node = graph.nodes[name].get("node")
        rides = node is not None and name not in claimed and _follows(node, start, requantize)
        if rides and members & set(graph.predecessors(name)):
            found.append(name)
            members.add(name)
    return found


def _follows(node: Node, start: Node, requantize: str) -> bool:
    if not is_elementwise(node) or node.shape != start.shape:
        return False
    if requantize == "float32" or node.op in _FIXED_POINT:
        return True
    return node.op == "add" and bool(node.constants)


def _closed(graph: nx.DiGraph, members: list[str], start: str) -> set[str]:
    """The largest part of ``members`` from ``start`` with one value that others read."""
    inside = set(members)
    while True:
        leaving = [n for n in members if n in inside and set(graph.successors(n)) - inside]
        if len(leaving) <= 1:
            return inside
        first = leaving[0]
        inside &= {first} | nx.ancestors(graph.subgraph(inside), first)
        if inside == {start}:
            return inside
