"""Edges as a person reads them: a table on wide terminals, a list on narrow ones."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hago.cli.render import (
    count,
    print_indented,
    print_table,
    print_title,
    short_source,
    table_of,
)
from hago.report import EdgeReport, InspectReport

_NARROW = 110  # below this many columns a table of edges has no room for the reasons


def show_inspect(console: Console, report: InspectReport) -> None:
    """Every edge with its choices and who decided them."""
    fused = sum(edge.is_fused for edge in report.edges)
    quantized = sum(not edge.is_float for edge in report.edges)
    stayed = len(report.edges) - fused - quantized
    summary = (
        f"{count(len(report.edges), 'edge')}: {quantized} can be quantized, "
        f"{fused} in a kernel, {stayed} float32"
    )
    print_title(console, f"{report.model} on {report.hardware}", summary)
    if console.width >= _NARROW:
        print_table(console, _table(report.edges))
    else:
        for edge in report.edges:
            _print_edge(console, edge)
    console.print()


def _table(edges: Iterable[EdgeReport]) -> Table:
    table = table_of("edge", "takes", "or", "because", "source")
    for edge in edges:
        cells = (edge.edge, edge.chosen, _others(edge) or "-", edge.reason)
        table.add_row(*map(Text, cells), Text(short_source(edge.source)), style=_style(edge))
    return table


def _print_edge(console: Console, edge: EdgeReport) -> None:
    others = f" or {_others(edge)}" if _others(edge) else ""
    chosen = (f"{edge.chosen}{others}", _style(edge))
    print_indented(console, Text.assemble((edge.edge, "bold"), "  ", chosen))
    source = f"  ({short_source(edge.source)})" if edge.source else ""
    print_indented(console, Text(f"{edge.reason}{source}", style="dim"), depth=6)


def _others(edge: EdgeReport) -> str:
    return ", ".join(choice for choice in edge.choices if choice != edge.chosen)


def _style(edge: EdgeReport) -> str:
    if edge.is_fused:
        return "dim"
    return "yellow" if edge.is_float else "green"


def show_edge(console: Console, edge: EdgeReport) -> None:
    """All that is known of one edge."""
    print_title(console, edge.edge, edge.chosen)
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(edge):
        facts.add_row(Text(name, style="dim"), Text(value, overflow="fold"))
    print_table(console, facts)
    console.print()


def _facts(edge: EdgeReport) -> Iterable[tuple[str, str]]:
    if edge.choices:
        yield "choices", ", ".join(edge.choices)
    if edge.reason:
        yield "because", edge.reason
    if edge.source:
        yield "source", edge.source
    if edge.scale is not None:
        yield "scale", _span(*(f"{value:.6g}" for value in edge.scale))
    if edge.zero_point is not None:
        yield "zero point", _span(*(str(value) for value in edge.zero_point))
    if edge.kernel:
        yield "kernel", edge.kernel


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}, by channel"
