"""Which kernels were raced, and what that gained."""

from __future__ import annotations

from rich.console import Console

from hago.cli.render import count, print_indented, print_table, table_of
from hago.report import CompileReport, KernelReport, TuningReport


def show_kernels(console: Console, report: CompileReport) -> None:
    """What ``--tune-kernels`` found; otherwise, how many kernels are built as an earlier race has
    found."""
    if report.tuning is not None:
        console.print()
        _show_tuning(console, report.tuning)
    elif report.cached_kernels:
        console.print()
        told = count(report.cached_kernels, "kernel") + " from the kernel cache"
        print_indented(console, f"{told}  (--no-kernel-cache builds without)")


def _show_tuning(console: Console, tuning: TuningReport) -> None:
    numbers = ("calls", "share", "default us", "best us", "gain")
    table = table_of("kernel", *numbers, "schedule", right=numbers)
    for kernel in tuning.kernels:
        table.add_row(kernel.kernel, str(kernel.calls), f"{kernel.share:.1%}", *_found(kernel))
    print_table(console, table)
    if tuning.ratio is not None:
        left_out = "" if tuning.is_taken else ": built without"
        told = f"with these schedules the network takes {tuning.ratio:.1%} of its time{left_out}"
        print_indented(console, told)


def _found(kernel: KernelReport) -> tuple[str, str, str, str]:
    """Both times, the gain, and the schedule."""
    if kernel.default_us is None or kernel.best_us is None:
        return "-", "-", "-", f"race failed: {kernel.error}"
    gain = 1 - kernel.best_us / kernel.default_us
    known = " (known)" if kernel.is_from_cache else ""
    times = f"{kernel.default_us:.1f}", f"{kernel.best_us:.1f}"
    return *times, f"{gain:.1%}" if gain else "-", kernel.schedule + known
