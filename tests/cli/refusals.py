"""Each wrong use gives one clear error on stderr, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.cli.program import Outcome, parts_of

Make = Callable[[Path], object]


def assert_refused(done: Outcome, *parts: str) -> None:
    """One error of several lines that names ``parts``, nothing on stdout."""
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert len(re.findall(r"^\w+Error: ", done.err, re.MULTILINE)) == 1
    lines = parts_of(done.err)
    assert len(lines) >= 2, "an error says what, why, and what to do"
    for part in parts:
        assert part in "\n".join(lines)


def assert_nothing_written(folder: Path, before: set[str]) -> None:
    assert {path.name for path in folder.iterdir()} == before


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def text_file(folder: Path) -> Path:
    (folder / "m.onnx").write_text("this is no model")
    return folder / "m.onnx"


def empty_file(folder: Path) -> Path:
    (folder / "m.onnx").touch()
    return folder / "m.onnx"
