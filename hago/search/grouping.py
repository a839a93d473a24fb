"""QuantGraph -> groups: edges joined by ties, and the operands of one product.

    x -> conv2d[0], conv2d.weight -> conv2d[1]      one group: an instruction takes both or none

What a product may be comes from the machine's rows, as whole rows: u8 x s8, or bf16 x bf16,
never one operand of each. Weights in fewer bits than the last row's are stored in as many and
multiplied as what the row takes: they make a model smaller, not faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import networkx as nx

from hago.annotate.constants import constant_edges
from hago.annotate.narrow import WeightFormat, narrow_weights
from hago.annotate.operators import hardware_operator, is_anchor
from hago.annotate.overflow import overflow
from hago.dataflow import Node, read_dataflow
from hago.errors import StrategyError
from hago.graph import Edge, QuantGraph
from hago.scheme import DType, QuantScheme
from hago.search.space import FLOAT, Group, Option, Space

Row = tuple[DType, ...]  # the element types of one instruction's operands


def build_space(graph: QuantGraph, narrow: Sequence[int] = ()) -> Space:
    """The groups of ``graph`` in program order; those with integer weights may have weights of
    ``narrow`` bits, too (the most bits first). Raises StrategyError where nothing can be low.
    """
    nodes = read_dataflow(graph.module).by_name()
    sizes = {edge: weight.size for edge, weight in constant_edges(graph).items()}
    groups = []
    for edges in _parts(graph, nodes):
        options = _options(graph, edges, nodes)
        if options:
            options += _narrowed(graph, options[-1], narrow)
            weights = sum(sizes.get(edge, 0) for edge in edges)
            groups.append(Group(_name(edges, nodes), tuple(edges), (FLOAT, *options), weights))
    if not groups:
        raise StrategyError(
            "nothing to search: no edge of this model can have a low precision",
            fact=next((reason.text for reason in graph.reasons.values()), "it has no edges"),
            way_out="Look at 'hago inspect' for each edge's reason.",
        )
    return Space(tuple(groups))


def _parts(graph: QuantGraph, nodes: Mapping[str, Node]) -> list[list[Edge]]:
    """Edges that must change together, each part and all parts in the graph's order."""
    together = nx.Graph()
    free = [edge for edge in graph.edges if graph.choices[edge]]
    together.add_nodes_from(free)
    for tie in graph.tied:
        nx.add_path(together, sorted(tie))
    for edge in free:
        if edge.dst in nodes and is_anchor(nodes[edge.dst]):
            together.add_edge(edge, next(e for e in free if e.dst == edge.dst))
    order = {edge: number for number, edge in enumerate(graph.edges)}
    parts = [sorted(part, key=order.__getitem__) for part in nx.connected_components(together)]
    return sorted(parts, key=lambda part: order[part[0]])


def _name(edges: Sequence[Edge], nodes: Mapping[str, Node]) -> str:
    """The first product that reads the group, or its first edge: unique, as parts are disjoint."""
    products = (e.dst for e in edges if e.dst in nodes and is_anchor(nodes[e.dst]))
    return next(products, str(edges[0]))


def _options(
    graph: QuantGraph, edges: Sequence[Edge], nodes: Mapping[str, Node]
) -> list[Option]:
    """The options below float32, the most bits first, paired weights after others of as many."""
    rows = _rows(graph, edges, nodes)
    found: dict[str, Option] = {}
    for row in rows:
        chosen = _schemes(graph, edges, row, nodes)
        if len(chosen) == len(edges) and _agree(graph, chosen):
            option = _named(chosen, row, found)
            found.setdefault(option.name, option)
    return sorted(found.values(), key=lambda option: (-option.bits, _is_paired(option)))


def _is_paired(option: Option) -> bool:
    return any(scheme.dtype.paired for scheme in option.schemes.values())


def _narrowed(graph: QuantGraph, option: Option, narrow: Sequence[int]) -> list[Option]:
    """``option`` with its weights in fewer bits, where they are integers of more."""
    found = []
    for bits in narrow:
        schemes = narrow_weights(graph, option.schemes, WeightFormat(bits, ends=True))
        if bits < option.bits and schemes != option.schemes:
            weights = next(s.dtype for e, s in schemes.items() if s != option.schemes[e])
            found.append(Option(str(weights), bits, schemes))
    return found


def _rows(graph: QuantGraph, edges: Sequence[Edge], nodes: Mapping[str, Node]) -> list[Row]:
    """Distinct operand types of all instructions that could run the products of ``edges``."""
    anchors = dict.fromkeys(e.dst for e in edges if e.dst in nodes and is_anchor(nodes[e.dst]))
    found: dict[Row, None] = {}
    for name in anchors:
        found.update(dict.fromkeys(_rows_of(graph, nodes[name])))
    if not anchors:
        kinds = (scheme.dtype for edge in edges for scheme in graph.choices[edge])
        found.update(dict.fromkeys((dtype,) for dtype in kinds))
    return list(found)


def _rows_of(graph: QuantGraph, node: Node) -> list[Row]:
    operator, spec = hardware_operator(node), graph.spec
    assert operator is not None, node.name
    assert spec is not None, "annotate gives every graph its machine"
    rows = [row for row in spec.rows(operator) if overflow(node, row) is None]
    return [tuple(operand.dtype for operand in row.inputs) for row in rows]


def _schemes(
    graph: QuantGraph, edges: Sequence[Edge], row: Row, nodes: Mapping[str, Node]
) -> dict[Edge, QuantScheme]:
    """The schemes in which ``row`` takes its operands, and tied edges therefore have."""
    wanted: dict[Edge, DType] = {}
    for edge in edges:
        if edge.dst in nodes and is_anchor(nodes[edge.dst]):
            dtype = row[min(edge.arg, len(row) - 1)]
            tied = [e for tie in graph.tied if edge in tie for e in tie]
            wanted.update({other: dtype for other in tied if other not in wanted})
            wanted[edge] = dtype
    found = {edge: _first(graph.choices[edge], wanted.get(edge, row[0])) for edge in edges}
    return {edge: scheme for edge, scheme in found.items() if scheme is not None}


def _first(schemes: Sequence[QuantScheme], dtype: DType) -> QuantScheme | None:
    return next((scheme for scheme in schemes if scheme.dtype == dtype), None)


def _agree(graph: QuantGraph, chosen: Mapping[Edge, QuantScheme]) -> bool:
    """Whether tied edges have one scheme."""
    return all(len({chosen[e] for e in tie if e in chosen}) <= 1 for tie in graph.tied)


def _named(chosen: Mapping[Edge, QuantScheme], row: Row, taken: Mapping[str, Option]) -> Option:
    """Called after its weights (or its data, where there are none), or after the whole row."""
    weights = [scheme.dtype for edge, scheme in chosen.items() if edge.is_constant]
    dtype = weights[0] if weights else row[-1]
    name = str(dtype)
    if name in taken and taken[name].schemes != chosen:
        name = " x ".join(map(str, row))
    return Option(name, dtype.bits, dict(chosen))
