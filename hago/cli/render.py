"""Reports as text that a person likes to read, on terminals of any width."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hago.deploy.bench import Timing
from hago.hardware.spec import HardwareSpec
from hago.report import (
    CompileReport,
    Contestant,
    DemoReport,
    EdgeReport,
    InspectReport,
    Json,
)

_NARROW = 100  # below this many columns a table of edges becomes a list


def print_json(document: Mapping[str, Json]) -> None:
    """The one document on stdout."""
    print(json.dumps(document, indent=1))


def show_compile(console: Console, report: CompileReport) -> None:
    """What was made, whether it is faster, what stayed float."""
    console.print(_title(f"{report.model} for {report.hardware}", str(report.output)))
    baseline = () if report.baseline is None else (report.baseline,)
    console.print(_contestants((*baseline, *report.slower, report.compiled)))
    if report.accuracy:
        figures = "   ".join(f"{name} {value:.4g}" for name, value in report.accuracy.items())
        console.print(Padding(f"against float32:  {figures}", (0, 2)))
    _show_float(console, report.stayed_float, len(report.edges))


def show_demo(console: Console, report: DemoReport) -> None:
    """Float and quantized side by side on the digits."""
    console.print(
        _title(f"handwritten digits on {report.hardware}", f"{report.images} test images")
    )
    console.print(_contestants(report.contestants))
    _show_float(console, report.stayed_float, report.edges)


def show_inspect(console: Console, report: InspectReport) -> None:
    """Every edge with its choices and who decided them."""
    fused = sum(edge.is_fused for edge in report.edges)
    quantized = sum(not edge.is_float for edge in report.edges)
    subtitle = f"{quantized} of {len(report.edges)} edges can be quantized, {fused} are in a kernel"
    console.print(_title(f"{report.model} on {report.hardware}", subtitle))
    if console.width < _NARROW:
        for edge in report.edges:
            console.print(_edge_lines(edge))
        return
    table = _table("edge", "takes", "or", "because", "source")
    for edge in report.edges:
        others = ", ".join(choice for choice in edge.choices if choice != edge.chosen)
        cells = (edge.edge, edge.chosen, others or "-", edge.reason, edge.source)
        table.add_row(*map(Text, cells), style=_style(edge))
    console.print(table)


def show_edge(console: Console, edge: EdgeReport) -> None:
    """All that is known of one edge."""
    console.print(_title(edge.edge, edge.chosen))
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(edge):
        facts.add_row(Text(name, style="dim"), Text(value))
    console.print(Padding(facts, (0, 2)))


def show_timing(console: Console, name: str, timing: Timing) -> None:
    """Median, spread and minimum of a benchmark."""
    threads = f"{timing.threads} thread{'s' if timing.threads > 1 else ''}"
    console.print(_title(name, f"{threads}, {timing.runs} runs"))
    table = _table("median", "spread (IQR)", "minimum")
    table.add_row(*(f"{ms:.3f} ms" for ms in (timing.median_ms, timing.iqr_ms, timing.min_ms)))
    console.print(table)


def show_specs(console: Console, specs: Sequence[HardwareSpec], here: Collection[str]) -> None:
    """Names and descriptions; ``here`` are those that this computer is."""
    table = _table("", "machine", "description")
    for spec in specs:
        table.add_row("*" if spec.name in here else "", spec.name, spec.description)
    console.print(table)
    console.print(Padding("* this computer can run it", (1, 2)), style="dim")


def show_spec(console: Console, spec: HardwareSpec) -> None:
    """One machine, a line for each row of its file."""
    console.print(_title(spec.name, spec.description))
    table = _table("computes", "with", "ops/cycle", "source")
    for row in spec.ops:
        cells = (str(row), row.intrinsic, f"{row.throughput:g}", str(row.origin))
        table.add_row(*map(Text, cells))
    console.print(table)
    needs = ", ".join(spec.features) or "nothing that is checked"
    console.print(Padding(Text(f"needs {needs}"), (1, 2)), style="dim")


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


def _edge_lines(edge: EdgeReport) -> RenderableType:
    head = Text.assemble((edge.edge, "bold"), "  ", (edge.chosen, _style(edge)))
    lines = (head, Text(f"  {edge.reason}", style="dim"), Text(f"  {edge.source}", style="dim"))
    return Text("\n").join(lines)


def _style(edge: EdgeReport) -> str:
    if edge.is_fused:
        return "dim"
    return "yellow" if edge.is_float else "green"


def _show_float(console: Console, stayed: tuple[EdgeReport, ...], total: int) -> None:
    """How much stayed float, with each reason once."""
    fused = sum(edge.is_fused for edge in stayed)
    stayed = tuple(edge for edge in stayed if not edge.is_fused)
    summary = f"{total - fused - len(stayed)} edges are quantized, {fused} stay inside a kernel"
    verb = "stays" if len(stayed) == 1 else "stay"
    end = f", {len(stayed)} {verb} float32:" if stayed else ", none stays float32"
    console.print(Padding(summary + end, (1, 2, 0 if stayed else 1, 2)))
    reasons = Counter((edge.reason, edge.source) for edge in stayed)
    for (reason, source), count in reasons.most_common():
        example = next(
            edge.edge for edge in stayed if (edge.reason, edge.source) == (reason, source)
        )
        more = f" and {count - 1} more" if count > 1 else ""
        text = Text.assemble(
            (f"{example}{more}", "yellow"), f"\n  {reason}", (f"  {source}", "dim")
        )
        console.print(Padding(text, (0, 4)))


def _contestants(contestants: tuple[Contestant, ...]) -> Table:
    """One row each; the first is what the others are compared with."""
    has_accuracy = any(c.accuracy is not None for c in contestants)
    table = _table("", *(["accuracy"] if has_accuracy else []), "latency", "speed-up", "size")
    first = contestants[0]
    for contestant in contestants:
        accuracy = [_percent(contestant.accuracy)] if has_accuracy else []
        latency = "-" if contestant.latency_ms is None else f"{contestant.latency_ms:.3f} ms"
        speed = _speed_up(first, contestant)
        table.add_row(contestant.name, *accuracy, latency, speed, _size(contestant.size_bytes))
    return table


def _speed_up(first: Contestant, other: Contestant) -> str:
    if first is other or first.latency_ms is None or not other.latency_ms:
        return "-"
    return f"{first.latency_ms / other.latency_ms:.2f} x"


def _percent(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{accuracy:.2%}"


def _size(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _title(text: str, detail: str) -> RenderableType:
    return Padding(Text.assemble((text, "bold"), "   ", (detail, "dim")), (1, 2))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=True, padding=(0, 2, 0, 1), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
