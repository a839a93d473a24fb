"""Edges as a user reads them: what each may be, what it is, and why."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from tvm import ir

from hago.annotate import annotate
from hago.annotate.choices import RULES
from hago.annotate.operators import hardware_operator
from hago.dataflow import Node, read_dataflow
from hago.errors import StrategyError
from hago.graph import Edge, QuantGraph, QuantModel, Reason
from hago.hardware.spec import HardwareSpec
from hago.realize.strip import Given, strip_qdq
from hago.report import EdgeReport
from hago.scheme import DType, PerAxis, PerTensor, QuantScheme, TensorQuant


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


def imported_edge_reports(module: ir.IRModule, spec: HardwareSpec) -> tuple[EdgeReport, ...]:
    """Every edge of a model that came with its own quantize operations.

    What its file quantizes has the file's numbers; the rest stays float32, whatever the machine
    offers for it.
    """
    stripped = strip_qdq(module)
    graph = annotate(stripped.module, spec)
    return tuple(
        _imported_report(graph, edge, stripped.given.get((edge.dst, edge.arg)))
        for edge in graph.edges
    )


def _imported_report(graph: QuantGraph, edge: Edge, given: Given | None) -> EdgeReport:
    reason = graph.reasons[edge]
    if given is not None:
        return EdgeReport(
            edge=str(edge),
            chosen=str(_scheme(given)),
            reason="the model's file quantizes it so",
            source="model",
            scale=(float(given.scale.min()), float(given.scale.max())),
            zero_point=(int(given.zero_point.min()), int(given.zero_point.max())),
        )
    if graph.choices[edge]:
        text = "the model's file leaves it in float32"
        return EdgeReport(str(edge), "float32", reason=text, source="model")
    return EdgeReport(str(edge), "float32", reason=reason.text, source=reason.source)


def _scheme(given: Given) -> QuantScheme:
    kind: Literal["uint", "int"] = "uint" if given.dtype.startswith("u") else "int"
    bits = int(given.dtype.removeprefix("u").removeprefix("int"))
    granularity = PerAxis(given.axis) if given.scale.size > 1 else PerTensor()
    middle = 2 ** (bits - 1) if kind == "uint" else 0
    return QuantScheme(DType(kind, bits), granularity, bool(np.all(given.zero_point == middle)))


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
