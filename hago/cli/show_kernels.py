"""Which kernels were raced, and what that gained."""

from __future__ import annotations

from rich.console import Console

from hago.cli.render import count, print_indented, print_table, table_of
from hago.report import CompileReport


def show_kernels(console: Console, report: CompileReport) -> None:
    """A table of the kernels that ``--tune-kernels`` knows about; otherwise, how many kernels are
    built as an earlier race has found."""
    if report.tuned:
        console.print()
        _show_table(console, report)
    if report.tuned_ratio is not None:
        told = f"the network takes {report.tuned_ratio:.1%} of its time without these schedules"
        print_indented(console, told)
    elif report.cached_kernels:
        console.print()
        told = count(report.cached_kernels, "kernel") + " from the kernel cache"
        print_indented(console, f"{told}  (--no-kernel-cache builds without)")


def _show_table(console: Console, report: CompileReport) -> None:
    numbers = ("calls", "share", "default us", "best us", "gain")
    table = table_of("kernel", *numbers, "schedule", right=numbers)
    for kernel in report.tuned:
        gain = 1 - kernel.best_us / kernel.default_us
        known = " (known)" if kernel.is_from_cache else ""
        table.add_row(
            kernel.kernel,
            str(kernel.calls),
            f"{kernel.share:.1%}",
            f"{kernel.default_us:.1f}",
            f"{kernel.best_us:.1f}",
            f"{gain:.1%}" if gain else "-",
            kernel.schedule + known,
        )
    print_table(console, table)
