"""A benchmark as a table."""

from __future__ import annotations

from rich.console import Console

from hago.cli.render import count, print_table, print_title, table_of
from hago.deploy.bench import Timing

_COLUMNS = ("median", "spread (IQR)", "minimum")


def show_timing(console: Console, name: str, timing: Timing) -> None:
    """Median, spread and minimum of a benchmark."""
    detail = f"{count(timing.threads, 'thread')}, {count(timing.runs, 'run')}"
    print_title(console, name, detail)
    table = table_of(*_COLUMNS, right=_COLUMNS)
    table.add_row(*(f"{ms:.3f} ms" for ms in (timing.median_ms, timing.iqr_ms, timing.min_ms)))
    print_table(console, table)
    console.print()
