"""Machines as tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Console
from rich.text import Text

from hago.cli.render import print_indented, print_table, print_title, table_of
from hago.hardware.spec import Accumulator, HardwareSpec, OpSupport, word_of

_NARROW = 110  # below this many columns operators stand below each other


def show_specs(console: Console, specs: Sequence[HardwareSpec], here: Collection[str]) -> None:
    """Names and descriptions; ``here`` are those that this computer is."""
    table = table_of("machine", "", "description")
    for spec in specs:
        table.add_row(spec.name, "*" if spec.name in here else "", spec.description)
    console.print()
    print_table(console, table)
    console.print()
    print_indented(console, Text("* this computer can run it", style="dim"))
    console.print()


def show_spec(console: Console, spec: HardwareSpec) -> None:
    """One machine, a line for each row of its file."""
    print_title(console, spec.name, spec.description)
    is_narrow = console.width < _NARROW
    table = table_of("operators", "of", "sum", "give", "by", "ops/cyc", "line",
                     right=("ops/cyc", "line"), gap=1 if is_narrow else 2)  # fmt: skip
    for alike in _alike(spec.ops):
        row = alike[0]
        cells = (
            ("\n" if is_narrow else ", ").join(dict.fromkeys(other.op for other in alike)),
            " x ".join(word_of(operand.dtype) for operand in row.inputs),
            _sum(row.accum),
            " ".join(map(word_of, row.output)),
            row.intrinsic,
            f"{row.throughput:,g}" if row.throughput < 1e6 else f"{row.throughput:.1e}",
            str(row.origin.line),
        )
        table.add_row(*map(Text, cells))
    print_table(console, table)
    console.print()
    needs = ", ".join(spec.features) or "nothing that is checked"
    print_indented(console, Text(f"needs {needs}", style="dim"))
    files = ", ".join(dict.fromkeys(row.origin.file for row in spec.ops))
    print_indented(console, Text(f"lines of {files}", style="dim"))
    console.print()


def _alike(rows: Sequence[OpSupport]) -> list[list[OpSupport]]:
    """Rows that one line of the file wrote, for several operators."""
    groups: dict[object, list[OpSupport]] = {}
    for row in rows:
        key = (row.origin, row.inputs, row.output, row.accum, row.intrinsic, row.throughput)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _sum(accumulator: Accumulator) -> str:
    return f"{word_of(accumulator.dtype)}{' sat.' if accumulator.saturates else ''}"
