"""What is known of a sub-graph's cost without measuring: work and traffic by bit-width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hago.annotate.operators import hardware_operator, is_anchor
from hago.annotate.overflow import reduction_length
from hago.dataflow import Node, read_dataflow
from hago.graph import Edge, QuantGraph
from hago.hardware.spec import HardwareSpec
from hago.report import FUSED
from hago.scheme import DType
from hago.search.segments import Segment
from hago.search.space import Option, Space

_CLASSES = (8, 16, 32)  # bits: up to
_FLOAT = DType("float", 32)


@dataclass(frozen=True)
class Work:
    """One operation: multiply-adds (or elements), and the elements on each edge that it reads."""

    operator: str
    products: int
    reads: Mapping[Edge, int]


def works_of(graph: QuantGraph, segment: Segment) -> tuple[Work, ...]:
    """The operations of ``segment``, without what stays in registers."""
    dataflow = read_dataflow(graph.module)
    nodes, inside = dataflow.by_name(), set(segment.operations)
    return tuple(_work(graph, node, nodes) for node in dataflow.nodes if node.name in inside)


def features(
    works: Sequence[Work], chosen: Sequence[Option], spec: HardwareSpec
) -> tuple[float, ...]:
    """The logarithms of cycles at the machine's peak (first), of multiply-adds and bytes by
    bit-width, and of counts; ``chosen`` are the options of the segment's groups."""
    schemes = {edge: scheme.dtype for option in chosen for edge, scheme in option.schemes.items()}
    products, traffic = dict.fromkeys(_CLASSES, 0.0), dict.fromkeys(_CLASSES, 0.0)
    cycles, anchors, elements = 0.0, 0, 0
    for work in works:
        dtypes = [schemes.get(edge, _FLOAT) for edge in work.reads]
        for dtype, count in zip(dtypes, work.reads.values(), strict=True):
            traffic[_class(dtype)] += count * dtype.bits / 8
        if work.operator:
            anchors += 1
            products[_class(dtypes[0])] += work.products
            cycles += 2 * work.products / _throughput(spec, work.operator, dtypes)
        else:
            elements += work.products
    cycles += sum(traffic.values()) / (spec.memory.bandwidth or 4.0)
    values = (cycles, *products.values(), *traffic.values(), anchors, len(works), elements)
    return tuple(math.log1p(value) for value in values)


def _work(graph: QuantGraph, node: Node, nodes: Mapping[str, Node]) -> Work:
    edges = [Edge(name, node.name, arg) for arg, name in enumerate(node.inputs)]
    reads = {
        edge: _elements(node, edge, nodes)
        for edge in edges
        if edge in graph.reasons and graph.reasons[edge].source != FUSED
    }
    operator = (hardware_operator(node) or "") if is_anchor(node) and reads else ""
    length = reduction_length(node) if operator else 1
    return Work(operator, math.prod(node.shape) * length, reads)


def _elements(node: Node, edge: Edge, nodes: Mapping[str, Node]) -> int:
    if edge.arg in node.constants:
        return int(node.constants[edge.arg].size)
    source = nodes.get(edge.src)
    return math.prod(source.shape) if source is not None else math.prod(node.shape)


def _throughput(spec: HardwareSpec, operator: str, dtypes: Sequence[DType]) -> float:
    """Operations a cycle of the row for these operands, or of the slowest row there is."""
    rows = [row for row in spec.rows(operator) if row.throughput > 0]
    for row in rows:
        if [operand.dtype for operand in row.inputs] == list(dtypes):
            return row.throughput
    return min((row.throughput for row in rows), default=1.0)


def _class(dtype: DType) -> int:
    return next(bits for bits in _CLASSES if dtype.bits <= bits)


def chosen_options(space: Space, groups: Sequence[int], config: Sequence[int]) -> list[Option]:
    """The options that a configuration of ``groups`` names."""
    return [space.groups[g].options[o] for g, o in zip(groups, config, strict=True)]
