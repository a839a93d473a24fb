"""Contestants: who takes part, who is missed, and the ratios of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.compare import Comparison, Row, compare, ratios
from tests.bench.contestant import Absent, Alone, Entry, Name, Task
from tests.bench.document import Setting, to_document
from tests.bench.tables import show
from tests.bench.timing import Spread

ALONE = Alone(load_ms=1.0, load_cpu_ms=0.5, private=3 << 20, peak_private=5 << 20)


def _compare(folder: Path, entries: list[Entry]) -> Comparison:
    return compare(_task(folder), entries, seconds=0.0, measure=lambda *_: ALONE)


def _task(folder: Path) -> Task:
    return Task("tiny", folder / "tiny.onnx", {}, [], folder, threads=1, machine=None)


def _entry(name: Name, load: Callable[[], object], package: str = "numpy") -> Entry:
    return Entry(name, package, lambda: None, lambda task: task.path, lambda task, path: load)


def _row(runtime: str, precision: str, median: float) -> Row:
    return Row(Name(runtime, precision), Spread(median, median, median, median, 10), ALONE)


RESULT = Comparison(
    "tiny",
    (
        _row("hago", "float32", 6.0),
        _row("hago", "int8", 2.0),
        _row("onnxruntime", "float32", 8.0),
        _row("openvino", "float32", 5.0),
        _row("openvino", "int8", 4.0),
    ),
    (Absent(Name("onnxruntime", "int8", "dynamic"), "ValueError: no products"),),
)


def test_whoever_is_not_installed_is_named_with_the_package(tmp_path: Path) -> None:
    entries = [_entry(Name("peer", "int8"), lambda: None, package="no_such_package")]
    entries.append(_entry(Name("hago", "int8"), lambda: None))
    found = _compare(tmp_path, entries)
    assert [one.name.runtime for one in found.rows] == ["hago"]
    assert "no_such_package is not installed" in found.absent[0].reason


def test_whoever_fails_is_named_with_the_error(tmp_path: Path) -> None:
    def fail() -> object:
        raise ValueError("unsupported operator\nand many lines more")

    found = _compare(tmp_path, [_entry(Name("peer", "int8"), fail)])
    assert found.absent == (Absent(Name("peer", "int8"), "ValueError: unsupported operator"),)


def test_ratios_are_over_the_best_peer_of_each_precision() -> None:
    expected = {
        "best": 2 / 4, "float32": 6 / 5, "int8": 2 / 4, "float32 over onnxruntime": 6 / 8,
    }  # fmt: skip
    assert ratios(RESULT) == pytest.approx(expected)


def test_without_peers_there_are_no_ratios() -> None:
    assert ratios(Comparison("tiny", (_row("hago", "int8", 2.0),), ())) == {}


def test_the_document_says_who_ran_and_who_did_not() -> None:
    setting = Setting("x86-vnni", threads=1, cores=(0,), cpu="a CPU")
    document = json.loads(json.dumps(to_document(setting, [RESULT])))
    (model,) = document["models"]
    assert document["versions"]["numpy"]
    assert (document["machine"], document["threads"], document["cores"]) == ("x86-vnni", 1, [0])
    assert model["contestants"][1]["median_ms"] == 2.0
    assert {"q25_ms", "q75_ms", "min_ms", "runs"} <= model["contestants"][0].keys()
    assert model["contestants"][0]["load_ms"] == ALONE.load_ms
    assert model["contestants"][0]["peak_private"] == ALONE.peak_private
    assert model["absent"][0]["reason"] == "ValueError: no products"
    assert model["ratios"]["best"] == 0.5


def test_the_table_shows_the_absent_loudly() -> None:
    text = StringIO()
    show(Console(file=text, width=120), [RESULT])
    assert "ABSENT  onnxruntime int8 (dynamic): ValueError: no products" in text.getvalue()
    assert "0.50" in text.getvalue()


def test_the_table_shows_what_loading_takes() -> None:
    text = StringIO()
    show(Console(file=text, width=120), [RESULT])
    row = next(line for line in text.getvalue().splitlines() if "hago int8" in line)
    assert row.split()[-2:] == ["1", "5"]  # loading, private memory at most
