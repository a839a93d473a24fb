"""Tables of what was built: latency, size, accuracy, and what stayed float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hago.annotate.narrow import END_RULE
from hago.cli.render import (
    INDENT,
    count,
    print_indented,
    print_table,
    print_title,
    short_source,
    table_of,
)
from hago.cli.show_kernels import show_kernels
from hago.report import CompileReport, Contestant, DemoReport, EdgeReport, RecipeReport

# How the measures of hago.accuracy are written.
_MEASURES = {
    "sqnr_db": ("SQNR", "{:.1f} dB"),
    "cosine": ("cosine", "{:.5f}"),
    "top1": ("same top-1", "{:.1%}"),
}


def show_compile(console: Console, report: CompileReport) -> None:
    """What was made, whether it is faster, what stayed float."""
    print_title(console, f"{report.model} on {report.hardware}", f"in {report.output}")
    baseline = () if report.baseline is None else (report.baseline,)
    print_table(console, _contestants((*baseline, *report.slower, report.compiled)))
    if report.slower:
        console.print()
        print_indented(console, _kept(report.compiled))
    _show_constants(console, report.constants)
    show_kernels(console, report)
    if report.model_on:
        console.print()
        told = f"an executable model of {report.hardware}: kernels of {report.model_on} compute"
        print_indented(console, f"{told} what it would, so no latency is told")
    if report.accuracy:
        console.print()
        print_indented(console, f"against float32:  {measures(report.accuracy)}")
    if report.recipe is not None:
        show_recipe(console, report.recipe)
    _show_ends(console, report.edges)
    _show_float(console, report.stayed_float, len(report.in_registers), len(report.edges))


def _kept(compiled: Contestant) -> str:
    """Which of several was taken for the artifact, and why."""
    if compiled.latency_ms is None:
        return f"kept:  {compiled.name}, the fewest bits (latencies are not measured here)"
    return f"kept:  {compiled.name}, the fastest"


def _show_constants(console: Console, constants: Mapping[str, int]) -> None:
    """How much of the float model's constants is left: the library has code as well."""
    if {"stored", "float32"} <= constants.keys() and constants["float32"]:
        stored, whole = constants["stored"], constants["float32"]
        told = f"constants:  {_size(stored)}, {stored / whole:.1%} of float32's {_size(whole)}"
        console.print()
        print_indented(console, told)


def show_recipe(console: Console, recipe: RecipeReport) -> None:
    """Which methods chose the numbers, and why these."""
    console.print()
    heading = Text.assemble(f"recipe {recipe.asked}", (f"   {recipe.facts}", "dim"))
    print_indented(console, heading)
    table = table_of("", "")
    table.show_header = False
    for method in recipe.methods:
        table.add_row(method.name, Text(method.reason, style="dim"))
    console.print(Padding(table, (0, 0, 0, 2 * INDENT), expand=False))


def show_demo(console: Console, report: DemoReport) -> None:
    """Float and quantized side by side on the digits."""
    images = count(report.images, "test image")
    print_title(console, f"handwritten digits on {report.hardware}", images)
    print_table(console, _contestants(report.contestants))
    _show_float(console, report.stayed_float, len(report.in_registers), report.edges)


def measures(accuracy: Mapping[str, float]) -> str:
    """The measures of :mod:`hago.accuracy` in one line."""
    known = {name: _MEASURES.get(name, (name, "{:.4g}")) for name in accuracy}
    parts = (f"{label} {form.format(accuracy[name])}" for name, (label, form) in known.items())
    return ",  ".join(parts)


def _contestants(contestants: tuple[Contestant, ...]) -> Table:
    """One row each; the first is what the others are compared with."""
    has_accuracy = any(c.accuracy is not None for c in contestants)
    numbers = (*(["accuracy"] if has_accuracy else []), "latency", "speed-up", "size")
    table, first = table_of("", *numbers, right=numbers), contestants[0]
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


def _show_ends(console: Console, edges: tuple[EdgeReport, ...]) -> None:
    """Which layers keep wider weights than was asked for, and why."""
    kept = [edge for edge in edges if edge.source == END_RULE]
    if kept:
        console.print()
        for edge in kept:
            print_indented(console, Text(f"{edge.edge} stays {edge.chosen}", style="yellow"))
        why = Text.assemble(kept[0].reason, (f"  ({short_source(END_RULE)})", "dim"))
        print_indented(console, why, depth=4)


def _show_float(
    console: Console, alone: tuple[EdgeReport, ...], fused: int, total: int
) -> None:
    """How much stayed float, with each reason once; ``fused`` edges are in no memory."""
    quantized = total - fused - len(alone)
    parts = [count(quantized, "edge", "is") + " quantized"]
    if fused:
        parts.append(f"{fused} never leave{'s' if fused == 1 else ''} a kernel")
    parts.append(f"{len(alone) or 'none'} stay{'s' if len(alone) <= 1 else ''} float32")
    console.print()
    print_indented(console, ", ".join(parts) + (":" if alone else ""))
    for (reason, source), number in Counter((e.reason, e.source) for e in alone).most_common():
        example = next(e.edge for e in alone if (e.reason, e.source) == (reason, source))
        more = f" and {number - 1} more" if number > 1 else ""
        print_indented(console, Text(f"{example}{more}", style="yellow"), depth=4)
        why = Text.assemble(reason, (f"  ({short_source(source)})" if source else "", "dim"))
        print_indented(console, why, depth=6)
    console.print()
