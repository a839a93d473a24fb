"""A diagnosis as tables, with a small histogram of each of the worst tensors."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hago.cli.render import INDENT, count, print_indented, print_table, print_title, table_of
from hago.cli.show_compile import measures, show_recipe
from hago.diagnose.diagnosis import Diagnosis, EdgeDiagnosis

_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDTH = 48  # columns of a histogram
_DETAILED = 5  # edges with a histogram


def show_diagnosis(console: Console, found: Diagnosis, worst: int, page: Path | None) -> None:
    """The whole, the worst edges, the facts about the first of them, and what would mend most."""
    samples = count(found.samples, "sample")
    print_title(console, f"{found.model} on {found.hardware}", f"simulated on {samples}")
    print_indented(console, f"quantized against float32:  {measures(found.accuracy)}")
    if found.recipe is not None:
        show_recipe(console, found.recipe)
    shown = found.worst(worst)
    console.print()
    part = sum(edge.share for edge in shown)
    print_indented(console, f"{len(shown)} of {count(len(found.edges), 'rounding')} make "
                            f"{part:.0%} of the noise:")  # fmt: skip
    console.print()
    print_table(console, _table(shown))
    print_indented(console, Text(_LEGEND, style="dim"))
    for edge in shown[:_DETAILED]:
        _show_edge(console, edge)
    _show_mends(console, found)
    _show_lifted(console, found)
    if page is not None:
        print_indented(console, f"all edges, with plots: {page}")
        console.print()


_LEGEND = (
    "SQNR in dB: 'own' of the tensor itself, 'alone' of the outputs if nothing else is rounded, "
    "'so far' of the outputs if all before it are rounded, too"
)


def _table(edges: tuple[EdgeDiagnosis, ...]) -> Table:
    numbers = ("own", "alone", "so far", "noise", "clipped")
    table = table_of("edge", "as", *numbers, right=numbers, gap=1)
    for edge in edges:
        cells = (f"{edge.own_db:.1f}", f"{edge.alone_db:.1f}", f"{edge.together_db:.1f}",
                 f"{edge.share:.0%}", percent(edge.clipped))  # fmt: skip
        table.add_row(edge.edge, _short(edge.scheme), *cells)
    return table


def _short(scheme: str) -> str:
    return scheme.replace(" asymmetric", "").replace(" per channel", "/ch").replace(
        " per group of ", "/"
    )


def percent(value: float) -> str:
    """A share with two digits, nothing for none."""
    if not value:
        return "-"
    return f"{value:.1%}" if value >= 1e-3 else f"{value * 100:.1g}%"


def _show_edge(console: Console, edge: EdgeDiagnosis) -> None:
    console.print()
    heading = Text.assemble((edge.edge, "bold"), (f"   {edge.scheme}", "dim"))
    print_indented(console, heading)
    inside = 2 * INDENT
    print_indented(console, _histogram(edge), depth=inside)
    unit = " steps of its channel" if edge.is_weight else ""
    grid = f"values {edge.seen_low:.4g} .. {edge.seen_high:.4g}{unit}, "
    grid += f"grid {edge.low:.4g} .. {edge.high:.4g}"
    grid += "" if edge.is_weight else f" in steps of {edge.step:.3g}"
    print_indented(console, Text(grid, style="dim"), depth=inside)
    for remedy in edge.remedies:
        told = Text.assemble((", ".join(remedy.methods), "green"), f": {remedy.fact}")
        print_indented(console, told, depth=inside)
    if not edge.remedies:
        print_indented(console, "no method that was not applied already would mend it", inside)


def _histogram(edge: EdgeDiagnosis) -> Text:
    """Logarithms of the counts; what lies outside of the grid is red."""
    bars, text = edge.bars, Text()
    columns = min(_WIDTH, len(bars.counts))
    most = math.log1p(max(bars.counts))
    for column in range(columns):
        first = column * len(bars.counts) // columns
        last = max((column + 1) * len(bars.counts) // columns, first + 1)
        height = math.log1p(max(bars.counts[first:last])) / most if most else 0.0
        middle = bars.start + bars.width * (first + last) / 2
        is_clipped = edge.clipped > 0 and not edge.low <= middle <= edge.high
        block = _BLOCKS[math.ceil(height * (len(_BLOCKS) - 1))]
        text.append(block, style="red" if is_clipped else "cyan")
    return text


def _show_mends(console: Console, found: Diagnosis) -> None:
    console.print()
    if found.mends:
        table = table_of("would mend", "edges", "noise", right=("edges", "noise"))
        for mend in found.mends:
            table.add_row(mend.method, str(mend.edges), f"{mend.share:.0%}")
        print_table(console, table)
    rest = 1 - sum(mend.share for mend in found.mends)
    if rest > 0.005:
        print_indented(console, f"for {rest:.0%} of the noise no method is known but more bits")
    console.print()


def _show_lifted(console: Console, found: Diagnosis) -> None:
    """What leaving the worst edges in float32 would win."""
    counts = [str(each.count or "none") for each in found.lifted]
    table = table_of("worst edges in float32", *counts, right=tuple(counts))
    table.add_row("SQNR of the outputs, dB", *(f"{each.sqnr_db:.1f}" for each in found.lifted))
    print_table(console, table)
    print_indented(console, Text("'hago tune' finds which of them are worth their time",
                                 style="dim"))  # fmt: skip
    console.print()
