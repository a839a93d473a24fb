"""Prepared module + machine -> every edge with what it may be, why, and what is tied to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import networkx as nx
from tvm.ir import IRModule

from hago.annotate.choices import edge_choices
from hago.annotate.operators import is_anchor, passes_codes
from hago.dataflow import Dataflow, read_dataflow
from hago.errors import StrategyError
from hago.float8 import FORMATS
from hago.graph import Edge, QuantGraph
from hago.hardware.load import list_specs, load_spec
from hago.hardware.spec import HardwareSpec, multiplies
from hago.scheme import BFLOAT16, E4M3, QuantScheme

# The schemes that a precision of floats takes.
_FITTING: Mapping[str, Callable[[QuantScheme], bool]] = {
    "bfloat16": lambda scheme: scheme.dtype == BFLOAT16,
    "float8": lambda scheme: scheme.dtype.kind in FORMATS,
}


def annotate(module: IRModule, spec: HardwareSpec) -> QuantGraph:
    """The choices of every float32 edge of a prepared ``module`` on the machine ``spec``."""
    dataflow = read_dataflow(module)
    wishes = edge_choices(dataflow, spec)
    choices = {edge: wish.schemes for edge, wish in wishes.items()}
    reasons = {edge: wish.reason for edge, wish in wishes.items()}
    fixed = any(row.requantize != "float32" for row in spec.ops if row.intrinsic)
    requantize = "fixed_point" if fixed else "float32"
    tied = tied_edges(dataflow, choices)
    return QuantGraph(module, choices, reasons, tied, requantize, spec)


def tied_edges(
    dataflow: Dataflow, choices: Mapping[Edge, tuple[QuantScheme, ...]]
) -> tuple[frozenset[Edge], ...]:
    """Groups of edges with one scheme and one set of numbers.

    Readers of one tensor share its codes when they want the same scheme; an operation that
    passes codes on ties what it reads to what its readers read, if that is the same scheme.
    """
    ties = nx.Graph()
    ties.add_nodes_from(edge for edge, schemes in choices.items() if schemes)
    by_source: dict[str, list[Edge]] = {}
    for edge in ties:
        by_source.setdefault(edge.src, []).append(edge)
    for edges in by_source.values():
        for scheme in {choices[edge] for edge in edges}:
            nx.add_path(ties, [edge for edge in edges if choices[edge] == scheme])
    nodes = dataflow.by_name()
    for node in dataflow.nodes:
        if passes_codes(node):
            reader = nodes[node.inputs[0]] if node.op == "tuple_get_item" else node
            reads = [Edge(name, reader.name, arg) for arg, name in enumerate(reader.inputs)]
            read = [edge for edge in reads if edge in ties]
            both = (*read, *by_source.get(node.name, ()))
            for first in {choices[edge][0] for edge in read}:
                nx.add_path(ties, [edge for edge in both if choices[edge][0] == first])
    return tuple(frozenset(part) for part in nx.connected_components(ties) if len(part) > 1)


def choose_strategy(graph: QuantGraph, precision: str) -> dict[Edge, QuantScheme]:
    """The strategy that ``precision`` names: every edge as low as it allows.

    ``"int8"`` (or ``"auto"``, until costs are measured) takes the first scheme of each edge that
    has codes, ``"float8"`` and ``"bfloat16"`` take such floats where they are offered,
    ``"float32"`` quantizes nothing. Raises StrategyError where a low precision was asked for and no
    edge can have it.
    """
    if precision == "float32":
        return {}
    fits = _FITTING.get(precision, lambda scheme: scheme.is_quantized)
    fitting = {edge: filter(fits, schemes) for edge, schemes in graph.choices.items()}
    firsts = {edge: next(schemes, None) for edge, schemes in fitting.items()}
    chosen = _agreed(graph, {edge: first for edge, first in firsts.items() if first is not None})
    if not chosen:
        raise _no_choice(graph, precision)
    return chosen


def _agreed(graph: QuantGraph, chosen: dict[Edge, QuantScheme]) -> dict[Edge, QuantScheme]:
    """``chosen`` without the tied edges that do not all have the same scheme."""
    split = {
        edge
        for group in graph.tied
        for edge in group
        if len({chosen.get(other) for other in group}) > 1
    }
    return {edge: scheme for edge, scheme in chosen.items() if edge not in split}


def _no_choice(graph: QuantGraph, precision: str) -> StrategyError:
    """Why nothing is left to choose: the machine has no such products, or the model none."""
    spec, dtype = graph.spec, {"bfloat16": BFLOAT16, "float8": E4M3}.get(precision)
    if dtype is not None and spec is not None and not multiplies(spec, dtype):
        able = [name for name in list_specs() if multiplies(load_spec(name), dtype)]
        return StrategyError(
            f"{spec.name} cannot compute in {precision}",
            fact=f"no row of its specification multiplies {dtype}",
            source=spec.ops[0].origin.file,
            way_out=f"Compile for {', '.join(able)}, or with --precision int8.",
        )
    return StrategyError(
        f"nothing in this model can be computed in {precision} on this machine",
        fact=_telling(graph),
        way_out="Use --precision float32, or look at 'hago inspect' for each edge's reason.",
    )


def _telling(graph: QuantGraph) -> str:
    """A reason that stands for all: that of a product, where there is one."""
    products = {node.name for node in read_dataflow(graph.module).nodes if is_anchor(node)}
    reasons = [reason.text for edge, reason in graph.reasons.items() if edge.dst in products]
    every = (*reasons, *(reason.text for reason in graph.reasons.values()))
    return next(iter(every), "the model has no edges")
