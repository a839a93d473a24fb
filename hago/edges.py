"""Edges as a user reads them: what each may be, what it is, and why."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from tvm import ir

from hago.dataflow import read_dataflow
from hago.errors import StrategyError
from hago.graph import Edge, QuantGraph, QuantModel
from hago.report import EdgeReport
from hago.scheme import TensorQuant


def edge_reports(graph: QuantGraph, model: QuantModel | None = None) -> tuple[EdgeReport, ...]:
    """Every edge of ``graph``; with the numbers of ``model`` where it chose a scheme."""
    return tuple(_report(graph, model, edge) for edge in graph.edges)


def _report(graph: QuantGraph, model: QuantModel | None, edge: Edge) -> EdgeReport:
    reason, schemes = graph.reasons[edge], graph.choices[edge]
    chosen = model.strategy.get(edge) if model is not None else None
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


def _span(
    quant: TensorQuant | None,
) -> tuple[tuple[float, float] | None, tuple[int, int] | None]:
    """Smallest and largest scale and zero point over the channels."""
    if quant is None:
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
