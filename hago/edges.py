"""Edges as a user reads them: what each may be, what it is, and why."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from tvm import ir

from hago.annotate.choices import RULES
from hago.annotate.operators import hardware_operator
from hago.dataflow import Node, read_dataflow
from hago.errors import StrategyError
from hago.graph import Edge, QuantGraph, QuantModel, Reason
from hago.report import EdgeReport
from hago.scheme import QuantScheme, TensorQuant


def edge_reports(graph: QuantGraph, model: QuantModel | None = None) -> tuple[EdgeReport, ...]:
    """Every edge of ``graph``; with the numbers of ``model`` where it chose a scheme."""
    nodes = read_dataflow(graph.module).by_name()
    return tuple(_report(graph, model, edge, nodes.get(edge.dst)) for edge in graph.edges)


def _report(
    graph: QuantGraph, model: QuantModel | None, edge: Edge, reader: Node | None
) -> EdgeReport:
    schemes = graph.choices[edge]
    chosen = model.strategy.get(edge) if model is not None else None
    reason = _reason(graph, edge, reader, chosen)
    quant = model.quants[edge] if model is not None and chosen is not None else None
    scale, zero_point = _span(quant)
    return EdgeReport(
        edge=str(edge),
        chosen="float32" if chosen is None else str(chosen),
        choices=tuple(map(str, schemes)),
        reason=reason.text,
        source=reason.source,
        scale=scale,
        zero_point=zero_point,
    )


def _reason(
    graph: QuantGraph, edge: Edge, reader: Node | None, chosen: QuantScheme | None
) -> Reason:
    """Why ``edge`` is what it is: another choice than the preferred one has a row of its own."""
    first = graph.reasons[edge]
    if chosen is None or chosen == graph.choices[edge][0] or first.source == RULES:
        return first
    operator = hardware_operator(reader) if reader is not None else None
    rows = graph.spec.rows(operator) if graph.spec is not None and operator else ()
    used = [row for row in rows if chosen.dtype in (each.dtype for each in row.inputs)]
    return Reason(str(used[0]), str(used[0].origin)) if used else first


def _span(
    quant: TensorQuant | None,
) -> tuple[tuple[float, float] | None, tuple[int, int] | None]:
    """Smallest and largest scale and zero point over the channels."""
    if quant is None or not quant.scheme.is_quantized:
        return None, None
    scale = (float(quant.scale.min()), float(quant.scale.max()))
    return scale, (int(quant.zero_point.min()), int(quant.zero_point.max()))


def qdq_edge_reports(module: ir.IRModule) -> tuple[EdgeReport, ...]:
    """The quantized edges of a model that came with its own quantize operations."""
    return tuple(
        EdgeReport(
            edge=f"{node.inputs[0]} -> {node.name}[0]",
            chosen=node.dtype,
            reason="the model came quantized",
            source="model",
            scale=(float(node.constants[1].min()), float(node.constants[1].max())),
            zero_point=(int(node.constants[2].min()), int(node.constants[2].max())),
        )
        for node in read_dataflow(module).nodes
        if node.op == "quantize" and {1, 2} <= set(node.constants)
    )


def find_edge(reports: Sequence[EdgeReport], text: str) -> EdgeReport:
    """The report of the edge written as ``text``, spaces aside.

    Raises StrategyError naming edges that look like it.
    """
    wanted = text.replace(" ", "")
    for report in reports:
        if report.edge.replace(" ", "") == wanted:
            return report
    close = difflib.get_close_matches(text, [report.edge for report in reports], n=3, cutoff=0.3)
    raise StrategyError(
        f"no edge '{text}'",
        fact=f"near it: {'; '.join(close)}" if close else f"the model has {len(reports)} edges",
        way_out="Write an edge as 'SRC -> DST[ARG]'; 'hago inspect' lists them all.",
    )
