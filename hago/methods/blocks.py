"""Which operations are reconstructed together, from the graph's topology alone.

A value through which every path from the first layer to the results leads cuts the model in two
(a dominator of the results in the flow graph, T. Lengauer and R. Tarjan, TOPLAS 1979). What lies
between two consecutive cuts with several paths is a residual (or attention, or squeeze) block;
what has one path is a run of layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

from hago.annotate.operators import MOVES, is_anchor, is_unary
from hago.dataflow import Dataflow, Node

Partition = Callable[[Dataflow], "tuple[Block, ...]"]
_SOURCE, _SINK = "<source>", "<sink>"
_LINEAR = MOVES | {"add", "subtract", "multiply", "divide", "negative", "mean", "nn.avg_pool2d"}


@dataclass(frozen=True)
class Block:
    """Operations in program order, of which only ``output`` is read by others.

    ``layers`` are those with weights.
    """

    nodes: tuple[str, ...]
    layers: tuple[str, ...]

    @property
    def output(self) -> str:
        return self.nodes[-1]


def single_layers(dataflow: Dataflow) -> tuple[Block, ...]:
    """Every layer with the bias and activation that follow it; in order of execution, what lies
    between layers included, each operation as a block of its own."""
    return _ordered(dataflow, [_layer(dataflow, node) for node in dataflow.nodes if is_layer(node)])


def residual_blocks(dataflow: Dataflow, most: int = 8) -> tuple[Block, ...]:
    """Blocks between cuts of the graph, of at most ``most`` layers, and single layers elsewhere.

    A run of layers between residual blocks is cut after a layer without activation (a linear
    bottleneck).
    """
    found: list[Block] = []
    nodes = dataflow.by_name()
    for names in _pieces(dataflow):
        layers = [name for name in names if is_layer(nodes[name])]
        if 0 < len(layers) <= most:
            found.append(_block(dataflow, names))
    inside = {name for block in found for name in block.nodes}
    alone = [n for n in dataflow.nodes if is_layer(n) and n.name not in inside]
    found += [_layer(dataflow, node) for node in alone]
    return _ordered(dataflow, found)


def is_layer(node: Node) -> bool:
    """True for a product of an activation with constant weights."""
    return is_anchor(node) and 1 in node.constants and 0 not in node.constants


def _layer(dataflow: Dataflow, anchor: Node) -> Block:
    """``anchor`` and the functions of single channels that alone read it, one after the other."""
    nodes, users = dataflow.by_name(), dataflow.users()
    chain = [anchor]
    while len(users.get(chain[-1].name, ())) == 1:
        reader = nodes.get(users[chain[-1].name][0][0])
        if reader is None or not _is_by_channel(reader):
            break
        chain.append(reader)
    return Block(tuple(node.name for node in chain), (anchor.name,))


def _is_by_channel(node: Node) -> bool:
    """A function of one value with at most one constant for each channel (the last axis)."""
    sizes = {(value.size, value.shape[-1:]) for value in node.constants.values()}
    channels = node.shape[-1:]
    return is_unary(node) and all(size == 1 or (size,) == last == channels for size, last in sizes)


def _block(dataflow: Dataflow, names: Iterable[str]) -> Block:
    inside = set(names)
    kept = [node for node in dataflow.nodes if node.name in inside]
    return Block(
        tuple(node.name for node in kept), tuple(node.name for node in kept if is_layer(node))
    )


def _pieces(dataflow: Dataflow) -> list[list[str]]:
    """The nodes between consecutive cuts, runs of layers joined as the module says."""
    nodes = dataflow.by_name()
    pieces: list[list[str]] = []
    is_open, is_linear = False, False  # may the last piece take a layer; has it an activation yet
    for segment in _segments(dataflow):
        layers = sum(is_layer(nodes[name]) for name in segment)
        if pieces and (layers == 0 or (layers == len(segment) == 1 and is_open and not is_linear)):
            pieces[-1] += segment
        else:
            pieces.append(list(segment))
            is_open = len(segment) == 1
        if layers:
            is_linear = True
        elif any(nodes[name].op not in _LINEAR for name in segment):
            is_linear = False
    return pieces


def _segments(dataflow: Dataflow) -> list[list[str]]:
    """What lies between consecutive cuts: each list ends with the value that is the next cut."""
    graph = _flow(dataflow)
    if _SINK not in graph:
        return []
    above = nx.immediate_dominators(graph, _SOURCE)
    cuts = [_SINK]
    while cuts[-1] != _SOURCE:
        cuts.append(above[cuts[-1]])
    cuts.reverse()
    segments = []
    for first, last in pairwise(cuts):
        between = nx.descendants(graph, first) & nx.ancestors(graph, last)
        if last != _SINK:  # after the last cut there is no single value to reconstruct
            segments.append([*between, last])
    return segments


def _flow(dataflow: Dataflow) -> nx.DiGraph:
    """What depends on a layer, from a source to a sink; masks and the like stay outside."""
    graph = nx.DiGraph()
    for node in dataflow.nodes:
        before = [name for name in node.inputs if name in graph]
        if before:
            graph.add_edges_from((name, node.name) for name in before)
        elif is_layer(node):
            graph.add_edge(_SOURCE, node.name)
    graph.add_edges_from((name, _SINK) for name in dataflow.outputs if name in graph)
    return graph


def _ordered(dataflow: Dataflow, blocks: Sequence[Block]) -> tuple[Block, ...]:
    """``blocks`` and every other operation, each after what it reads."""
    owner = {name: block for block in blocks for name in block.nodes}
    for node in dataflow.nodes:
        owner.setdefault(node.name, Block((node.name,), ()))
    graph = nx.DiGraph()
    for node in dataflow.nodes:
        graph.add_node(owner[node.name])
        reads = {owner[name] for name in node.inputs if name in owner} - {owner[node.name]}
        graph.add_edges_from((other, owner[node.name]) for other in reads)
    place = {node.name: number for number, node in enumerate(dataflow.nodes)}
    return tuple(nx.lexicographical_topological_sort(graph, key=lambda b: place[b.nodes[0]]))
