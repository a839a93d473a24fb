"""What all output is made of: one JSON document, or titles, lines and tables for a person."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hago.report import Json

INDENT = 2


def terminal() -> Console:
    """stdout as wide as it is; 80 columns where it is a file or a pipe."""
    return Console(highlight=False)


def print_json(document: Mapping[str, Json]) -> None:
    """The one document on stdout; numbers that JSON has no word for are null."""
    print(json.dumps(_finite(dict(document)), indent=1, allow_nan=False))


def _finite(value: Json) -> Json:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def print_title(console: Console, text: str, detail: str) -> None:
    """A heading between empty lines, on one line where that fits."""
    is_short = INDENT + len(text) + len(detail) + 3 <= console.width
    heading = Text.assemble((text, "bold"), "   " if is_short else "\n", (detail, "dim"))
    console.print()
    print_indented(console, heading)
    console.print()


def print_indented(console: Console, line: str | Text, depth: int = INDENT) -> None:
    """A line, its continuations as far to the right as itself."""
    text = Text(line) if isinstance(line, str) else line
    console.print(Padding(text, (0, 0, 0, depth), expand=False), soft_wrap=False)


def print_table(console: Console, table: Table) -> None:
    console.print(Padding(table, (0, 0, 0, INDENT), expand=False))


def table_of(*columns: str, right: tuple[str, ...] = (), gap: int = 2) -> Table:
    """A table without lines, ``gap`` between its columns; those in ``right`` hold numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    for column in columns:
        if column in right:
            table.add_column(column, justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold")
    return table


def short_source(source: str) -> str:
    """``/a/long/path/hwspecs/x86_vnni.py:22`` as ``hwspecs/x86_vnni.py:22``."""
    parts = Path(source).parts
    return "/".join(parts[-2:]) if source.startswith("/") else source


def count(number: int, noun: str, verb: str = "") -> str:
    """``1 edge is`` or ``3 edges are`` (for "edge", "is")."""
    plural = {"is": "are", "stays": "stay", "": ""}[verb]
    word = noun if number == 1 else f"{noun}s"
    return " ".join(part for part in (str(number), word, verb if number == 1 else plural) if part)
