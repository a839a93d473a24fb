"""Outputs that cannot be written: one clear error, and what was there stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.program import MACHINE, Program
from tests.cli.refusals import assert_nothing_written, assert_refused


def test_a_folder_of_other_files_is_not_overwritten(
    hago_program: Program, model: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    done = hago_program("compile", model, "--hw", MACHINE, "--data", data, "-o", tmp_path)
    assert_refused(done, "not empty, and not an artifact")
    assert_nothing_written(tmp_path, {"thesis.txt"})


def test_a_file_is_no_output_folder(
    hago_program: Program, model: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("precious")
    done = hago_program("compile", model, "--hw", MACHINE, "--data", data, "-o", tmp_path / "out")
    assert_refused(done, "is not a folder")
    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.parametrize("parent", ["/proc/hago", "file"])
def test_an_output_that_cannot_be_written(
    hago_program: Program, model: Path, data: Path, artifact: Path, tmp_path: Path, parent: str
) -> None:
    (tmp_path / "file").touch()
    out = (tmp_path / parent) / "out"
    done = hago_program("compile", model, "--hw", MACHINE, "--data", data, "-o", out)
    assert_refused(done, "cannot be written", "-o")
    done = hago_program("run", artifact, "--input", data, "--output", out)
    assert_refused(done, "cannot be written", "--output")
