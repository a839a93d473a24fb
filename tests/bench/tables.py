"""The result as tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.compare import PEERS, Comparison, ratios

_MEBI = 1 << 20


def show(console: Console, comparisons: Sequence[Comparison]) -> None:
    """Latencies, ratios, and in red whoever is missing."""
    for comparison in comparisons:
        console.print(latencies(comparison))
        for one in comparison.absent:
            console.print(f"[bold red]ABSENT[/]  {one.name}: {one.reason}", highlight=False)
    console.print(summary(comparisons))


def latencies(comparison: Comparison) -> Table:
    """One model: a row a contestant, the fastest first; times in ms. Loading and private memory (at
    most, in MiB) are those of a process of its own, see ``tests.bench.alone``."""
    table = Table(title=f"{comparison.model}, ms", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("contestant", no_wrap=True)
    for column in ("median", "IQR", "min", "runs", "load", "MiB"):
        table.add_column(column, justify="right")
    for row in sorted(comparison.rows, key=lambda row: row.spread.median_ms):
        times, alone = row.spread, row.alone
        table.add_row(
            str(row.name), f"{times.median_ms:.2f}", f"{times.iqr_ms:.2f}", f"{times.min_ms:.2f}",
            str(times.runs), f"{alone.load_ms:.0f}", f"{alone.peak_private / _MEBI:.0f}",
            style="bold" if row.name.runtime == "hago" else "",
        )  # fmt: skip
    return table


def summary(comparisons: Sequence[Comparison]) -> Table:
    """Ratios of medians, hago over the best peer: below 1 hago is faster."""
    keys = list(dict.fromkeys(key for one in comparisons for key in ratios(one)))
    table = Table(
        title="hago / best peer (medians; below 1 hago is faster)",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("model")
    for key in keys:
        table.add_column(key, justify="right")
    table.add_column("best peer")
    for one in comparisons:
        found, peer = ratios(one), one.best(*PEERS)
        cells = (f"{found[key]:.2f}" if key in found else "-" for key in keys)
        table.add_row(one.model, *cells, str(peer.name) if peer else "none took part")
    return table
