"""How a compilation is told on a terminal."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from hago.cli.show_compile import show_compile
from hago.report import CompileReport, Contestant


def shown(compiled, *slower):
    report = CompileReport(
        Path("out"), "net", "x86-avx2", compiled.name, (), compiled,
        Contestant("float32", 3.0, 9), slower=slower,
    )  # fmt: skip
    stream = StringIO()
    show_compile(Console(file=stream, width=100), report)
    return stream.getvalue()


@pytest.mark.parametrize(("latency", "told"), [
    (1.0, "kept:  int8, the fastest\n"),
    (None, "kept:  int8, the fewest bits (latencies are not measured here)\n"),
])  # fmt: skip
def test_which_of_several_precisions_was_kept_is_told(latency, told):
    assert told in shown(Contestant("int8", latency, 1), Contestant("bfloat16", 2.0, 2))


def test_of_one_that_was_asked_for_nothing_is_said():
    assert "kept" not in shown(Contestant("int8", 1.0, 1))
