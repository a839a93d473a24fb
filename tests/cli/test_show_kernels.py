"""How races are told on a terminal."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from hago.cli.show_kernels import show_kernels
from hago.report import CompileReport, Contestant, KernelReport, TuningReport

RACED = KernelReport("uint8 8x32x16", 3, 0.25, 10.0, 8.0, "8x2, bands of 1")


def shown(**changes):
    contestant = Contestant("int8", 1.0, 1)
    report = CompileReport(Path("out"), "net", "x86-avx2", "int8", (), contestant, **changes)
    stream = StringIO()
    show_kernels(Console(file=stream, width=100), report)
    return stream.getvalue()


def test_a_row_has_both_times_the_gain_and_the_schedule():
    text = shown(tuning=TuningReport((RACED,), 0.97))
    (row,) = (line for line in text.splitlines() if "8x32x16" in line)
    assert " ".join(row.split()) == "uint8 8x32x16 3 25.0% 10.0 8.0 20.0% 8x2, bands of 1"
    assert "with these schedules the network takes 97.0% of its time" in text
    assert "built without" not in text


def test_schedules_that_slow_the_network_down_are_not_taken():
    assert "takes 103.0% of its time: built without" in shown(
        tuning=TuningReport((RACED,), 1.03, is_taken=False)
    )


def test_a_race_that_failed_says_why():
    failed = KernelReport("uint8 8x32x16", 1, 0.5, error="hung")
    assert "race failed: hung" in shown(tuning=TuningReport((failed,)))


@pytest.mark.parametrize(("kernels", "told"), [
    (0, ""), (1, "1 kernel from the kernel cache"), (12, "12 kernels from the kernel cache"),
])  # fmt: skip
def test_kernels_of_the_cache_are_counted(kernels, told):
    text = shown(cached_kernels=kernels)
    assert told in text
    assert bool(text) == bool(told)
