"""Weights in fewer bits than the machine multiplies: a smaller model on the same instructions.

The codes of 2 to 7 bits are codes of the 8-bit type that keep to a smaller range, so whatever
multiplies that type multiplies them, exactly and without any change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import networkx as nx

from hago.annotate.operators import is_anchor
from hago.dataflow import Dataflow, Node, read_dataflow
from hago.errors import StrategyError
from hago.graph import Edge, QuantGraph, Reason, Strategy
from hago.scheme import DType, PerAxis, PerGroup, QuantScheme


@dataclass(frozen=True)
class WeightFormat:
    """``bits`` a weight; with ``group``, a scale for each so many weights of a matrix's column.

    The first and the last layers keep the machine's own format (Esser et al., arXiv 1902.08153,
    section 2.3, and most papers after it) unless ``ends`` says otherwise. Raises StrategyError for
    bits that do not exist.
    """

    bits: int = 8
    group: int | None = None
    ends: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise StrategyError(
                f"no weights of {self.bits} bits", way_out="Give --weight-bits 2 to 8."
            )
        if self.group is not None and self.group < 1:
            raise StrategyError(
                f"no groups of {self.group} weights", way_out="Give --weight-group 32 to 128."
            )

    @property
    def groups(self) -> PerGroup | None:
        """The granularity of a matrix whose columns are so many weights times a number."""
        return None if self.group is None else PerGroup(0, self.group)

    @property
    def narrows(self) -> bool:
        """Whether weights are to be other than what the machine multiplies."""
        return self.bits < 8 or self.group is not None


MACHINE_FORMAT = WeightFormat()  # what the machine multiplies
END_RULE = "rule: end layers"  # the source of the reason for what is not narrowed
KEPT = Reason("the first and the last layers keep the machine's own bits", END_RULE)


def narrow_weights(graph: QuantGraph, strategy: Strategy, form: WeightFormat) -> Strategy:
    """``strategy`` with its integer weights in ``form``; other edges stay as they are.

    Weights of convolutions, and matrices whose height is no multiple of the group, keep one scale
    a channel. Weights that the machine computes in an 8-bit float become codes where it can store
    these.
    """
    dataflow = read_dataflow(graph.module)
    nodes, ends = dataflow.by_name(), frozenset() if form.ends else end_layers(dataflow)
    found = dict(strategy)
    for edge, scheme in strategy.items():
        codes = _codes(graph, edge, scheme, form)
        if codes is not None and edge.dst not in ends:
            found[edge] = _narrowed(codes, nodes[edge.dst], form)
    return found


def narrow_reasons(graph: QuantGraph, strategy: Strategy, form: WeightFormat) -> dict[Edge, Reason]:
    """Why integer weights of the narrowed ``strategy`` have the bits that they have, where ``form``
    narrows any and leaves others."""
    if form == MACHINE_FORMAT:
        return {}
    dataflow = read_dataflow(graph.module)
    nodes, ends = dataflow.by_name(), frozenset() if form.ends else end_layers(dataflow)
    return {
        edge: KEPT if edge.dst in ends else _reason(scheme, nodes[edge.dst], form)
        for edge, scheme in strategy.items()
        if _codes(graph, edge, scheme, form) is not None
    }


def _reason(scheme: QuantScheme, node: Node, form: WeightFormat) -> Reason:
    """Why the weights of ``node`` have ``scheme``."""
    text = f"codes of {scheme.dtype.bits} bits on the machine's own product"
    if form.group is not None and node.op == "matmul" and scheme.granularity != form.groups:
        length = column_length(node)
        text += f", a scale a column: {form.group} does not divide its {length} weights"
    return Reason(text, "weight format")


def end_layers(dataflow: Dataflow) -> frozenset[str]:
    """The layers that no other layer comes before, and those that none comes after."""
    graph = nx.DiGraph()
    for node in dataflow.nodes:
        graph.add_node(node.name)
        graph.add_edges_from((name, node.name) for name in node.inputs if name in graph)
    layers = {node.name for node in dataflow.nodes if is_anchor(node) and 1 in node.constants}
    return frozenset(
        name
        for name in layers
        if not layers & nx.ancestors(graph, name) or not layers & nx.descendants(graph, name)
    )


def _codes(
    graph: QuantGraph, edge: Edge, scheme: QuantScheme, form: WeightFormat
) -> QuantScheme | None:
    """The integer scheme of a weight: its own, or the one that it can be stored in, a channel a
    scale; None for others."""
    if not edge.is_constant or scheme.dtype.is_integer:
        return scheme if edge.is_constant else None
    stored = (choice for choice in graph.choices[edge] if choice.computed_in == scheme.dtype)
    fitting = [choice for choice in stored if choice.dtype.bits >= form.bits]
    return fitting[-1] if fitting else None


def _narrowed(scheme: QuantScheme, node: Node, form: WeightFormat) -> QuantScheme:
    dtype = scheme.dtype
    if form.bits < dtype.bits:
        dtype = DType(dtype.kind, form.bits)
    symmetric = scheme.symmetric and not (node.op == "nn.conv2d" and _has_room(dtype, scheme))
    scheme = replace(scheme, dtype=dtype, symmetric=symmetric)
    if form.groups is None or node.op != "matmul" or column_length(node) % form.groups.size:
        return scheme
    return replace(scheme, granularity=form.groups)


def _has_room(dtype: DType, scheme: QuantScheme) -> bool:
    """Whether codes ``dtype`` less any zero point are codes of the signed type that the machine
    multiplies: then zero points cost nothing, and a channel's range need not be centred.

    Matrices do without: kernels for single rows multiply their 4-bit codes as they lie in memory.
    """
    is_signed = dtype.kind == "int" and scheme.computed_in is None
    room = scheme.dtype.bits - (1 if scheme.dtype.paired else 0)  # all of so many bits are in pairs
    return is_signed and isinstance(scheme.granularity, PerAxis) and dtype.bits < room


def column_length(node: Node) -> int:
    """How many weights of the matrix of ``node`` make one result."""
    return int(node.constants[1].shape[0])
