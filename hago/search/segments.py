"""The graph cut into sub-graphs whose latencies add up.

    in -> [conv + add + relu -> conv + add] -> [conv -> mean] -> out

Operations of one kernel stay together; cuts are at articulation points, the kernels that every
path goes through, so that one tensor passes from a sub-graph to the next and what runs in
parallel or shares a residual is measured together (arXiv 2505.13060, section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import networkx as nx

from hago.annotate.operators import is_anchor
from hago.dataflow import Dataflow, read_dataflow
from hago.graph import QuantGraph
from hago.report import FUSED
from hago.search.space import Space

MOST_CONFIGURATIONS = 750  # of one sub-graph: 3^6 and a little; a larger one is cut in two

_ENTRY, _EXIT = "<entry>", "<exit>"


@dataclass(frozen=True)
class Segment:
    """``operations`` in program order; ``groups`` are the numbers of those that its latency
    depends on: whose edges it reads, and in whose precision it writes its result."""

    operations: tuple[str, ...]
    groups: tuple[int, ...]


def cut(graph: QuantGraph, space: Space) -> tuple[Segment, ...]:
    """The segments of the module, in program order; together they have every operation."""
    dataflow = read_dataflow(graph.module)
    parts = _between_articulations(dataflow, _units(dataflow, graph))
    readers = space.groups_by(lambda edge: edge.dst)
    writers = space.groups_by(lambda edge: edge.src)
    found: list[Segment] = []
    for part in parts:
        found += _small_enough(part, readers, writers, space)
    return tuple(found)


def _units(dataflow: Dataflow, graph: QuantGraph) -> list[tuple[str, ...]]:
    """Operations that one kernel computes, in program order of their results."""
    together = nx.Graph()
    together.add_nodes_from(node.name for node in dataflow.nodes)
    fused = [edge for edge, reason in graph.reasons.items() if reason.source == FUSED]
    together.add_edges_from((edge.src, edge.dst) for edge in fused)
    order = {node.name: number for number, node in enumerate(dataflow.nodes)}
    parts = nx.connected_components(together)
    return sorted(
        (tuple(sorted(part, key=order.__getitem__)) for part in parts),
        key=lambda part: order[part[-1]],
    )


def _between_articulations(
    dataflow: Dataflow, units: Sequence[tuple[str, ...]]
) -> list[list[tuple[str, ...]]]:
    """Runs of units, in topological order, each ending with an articulation point.

    What depends on no product (masks, positions) can be read from anywhere: it is no path.
    """
    unit_of = {name: number for number, unit in enumerate(units) for name in unit}
    flow = _flow(dataflow, unit_of, len(units))
    order = list(nx.lexicographical_topological_sort(flow))
    main = _main_path(dataflow, units, flow)
    paths = nx.Graph(flow.subgraph(main))
    paths.add_edges_from((_ENTRY, n) for n in main if not set(flow.pred[n]) & main)
    paths.add_edges_from((n, _EXIT) for n in main if not set(flow.succ[n]) & main)
    points = set(nx.articulation_points(paths)) & _products(dataflow, units)
    parts: list[list[tuple[str, ...]]] = [[]]
    for number in order:
        parts[-1].append(units[number])
        if number in points:
            parts.append([])
    if len(parts) > 1:  # what follows the last product is measured with it
        parts[-2:] = [parts[-2] + parts[-1]]
    return parts


def _flow(dataflow: Dataflow, unit_of: Mapping[str, int], count: int) -> nx.DiGraph:
    flow = nx.DiGraph()
    flow.add_nodes_from(range(count))
    flow.add_edges_from(
        (unit_of[name], unit_of[node.name])
        for node in dataflow.nodes
        for name in node.inputs
        if name in unit_of and unit_of[name] != unit_of[node.name]
    )
    return flow


def _products(dataflow: Dataflow, units: Sequence[tuple[str, ...]]) -> set[int]:
    anchors = {node.name for node in dataflow.nodes if is_anchor(node)}
    return {number for number, unit in enumerate(units) if anchors & set(unit)}


def _main_path(
    dataflow: Dataflow, units: Sequence[tuple[str, ...]], flow: nx.DiGraph
) -> set[int]:
    """The products and all that depends on one."""
    products = _products(dataflow, units)
    reached = (nx.descendants(flow, number) for number in products)
    return products.union(*reached) or set(flow)


def _small_enough(
    part: Sequence[tuple[str, ...]],
    readers: Mapping[str, set[int]],
    writers: Mapping[str, set[int]],
    space: Space,
) -> list[Segment]:
    """``part`` as a segment, or halved until each half has few enough configurations."""
    operations = tuple(name for unit in part for name in unit)
    inside = set(operations)
    groups: set[int] = set()
    for name in operations:
        groups |= readers.get(name, set())
        groups |= {g for g in writers.get(name, ()) if _leaves(space, g, name, inside)}
    count = prod(len(space.groups[group].options) for group in groups)
    if count <= MOST_CONFIGURATIONS or len(part) == 1:
        return [Segment(operations, tuple(sorted(groups)))]
    middle = len(part) // 2
    return [
        segment
        for half in (part[:middle], part[middle:])
        for segment in _small_enough(half, readers, writers, space)
    ]


def _leaves(space: Space, group: int, name: str, inside: set[str]) -> bool:
    return any(e.src == name and e.dst not in inside for e in space.groups[group].edges)
