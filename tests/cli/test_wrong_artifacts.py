"""Artifacts that were changed or are none: one clear error, exit code 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.program import Program
from tests.cli.refusals import assert_nothing_written, assert_refused


@pytest.fixture
def copy(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "artifact"))


def edit(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    path = folder / "manifest.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def truncate_library(folder: Path) -> None:
    path = folder / "model.so"
    path.write_bytes(path.read_bytes()[:5000])


ARTIFACTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated library": (truncate_library, "damaged"),
    "no library": (lambda f: (f / "model.so").unlink(), "damaged"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "not an artifact"),
    "half a manifest": (lambda f: (f / "manifest.json").write_text('{"format": 1'), "damaged"),
    "a list": (lambda f: (f / "manifest.json").write_text("[1]"), "damaged"),
    "another format": (lambda f: edit(f, lambda m: m.update(format=99)), "format 99"),
    "other inputs": (lambda f: edit(f, lambda m: m.update(inputs=[])), "damaged"),
    "a wrong shape": (lambda f: edit(f, lambda m: m["inputs"][0].update(shape=[-1])), "damaged"),
    "a field less": (lambda f: edit(f, lambda m: m.pop("machine")), "damaged"),
    "another machine": (
        lambda f: edit(f, lambda m: m["machine"].update(features=["avx10_9"])), "avx10_9"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_artifact_that_was_changed(
    hago_program: Program, copy: Path, data: Path, tmp_path: Path, name: str
) -> None:
    change, part = ARTIFACTS[name]
    change(copy)
    assert_refused(hago_program("bench", copy), part)
    done = hago_program("run", copy, "--input", data, "--output", tmp_path / "y.npz")
    assert_refused(done, part)
    assert_nothing_written(tmp_path, {"artifact"})


def test_shapes_of_the_manifest_that_the_library_does_not_take(
    hago_program: Program, copy: Path
) -> None:
    edit(copy, lambda manifest: manifest["inputs"][0].update(shape=[1, 3, 9, 9]))
    assert_refused(hago_program("bench", copy), "9")


def test_no_artifact_at_all(hago_program: Program, tmp_path: Path) -> None:
    assert_refused(hago_program("bench", tmp_path / "none"), "no such folder")
    assert_refused(hago_program("explain", tmp_path, "a -> b[0]"), "not an artifact")


def test_an_unknown_edge_suggests_others(hago_program: Program, artifact: Path) -> None:
    done = hago_program("explain", artifact, "permute -> conv2d[0]")
    assert_refused(done, "no edge 'permute -> conv2d[0]'", "permute_dims -> conv2d[0]")
