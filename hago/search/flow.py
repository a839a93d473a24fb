"""How groups follow each other: which of them reads what another one made."""

from __future__ import annotations

from hago.dataflow import read_dataflow
from hago.graph import QuantGraph
from hago.search.space import Space


def find_flow(graph: QuantGraph, space: Space) -> tuple[tuple[int, int], ...]:
    """Pairs of groups by number, in order: the operations of the second read what those of the
    first made, directly or through operations that no group is about."""
    readers = space.groups_by(lambda edge: edge.dst)
    makers: dict[str, set[int]] = {}
    found: set[tuple[int, int]] = set()
    for node in read_dataflow(graph.module).nodes:
        before = set[int]().union(*(makers.get(name, set()) for name in node.inputs))
        own = readers.get(node.name, set())
        found |= {(one, other) for one in before for other in own if one != other}
        makers[node.name] = own or before
    return tuple(sorted(found))
