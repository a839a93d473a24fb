"""An artifact folder is complete or absent, and never takes the place of anything else."""

import json
from dataclasses import replace

import pytest

from hago.deploy.artifact import check_output, replace_manifest, write_artifact
from hago.deploy.manifest import read_manifest
from hago.errors import BuildError
from hago.report import FUSED, EdgeReport
from tests.deploy.models import manifest_of


def export(path):
    path.write_bytes(b"a library")


def fail(path):
    path.write_bytes(b"half a li")
    raise BuildError("the compiler failed")


def test_an_artifact_is_a_library_and_a_manifest(tmp_path):
    write_artifact(tmp_path / "out", export, manifest_of())
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["manifest.json", "model.so"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_missing_parents_are_made(tmp_path):
    write_artifact(tmp_path / "a" / "b", export, manifest_of())
    assert (tmp_path / "a" / "b" / "model.so").is_file()


def test_the_manifest_reads_back_as_it_was_written(tmp_path):
    edges = (
        EdgeReport(
            "x -> conv[0]", "uint8", ("uint8", "float32"), "u8", "a.py:3", (0.1, 0.1), (3, 3)
        ),
        EdgeReport("y -> softmax[0]", "float32", (), "no row", "a.py:4"),
    )
    manifest = manifest_of()
    object.__setattr__(manifest, "edges", edges)
    write_artifact(tmp_path / "out", export, manifest)
    assert read_manifest(tmp_path / "out").edges == edges


def test_what_stayed_float_is_listed_in_the_manifest(tmp_path):
    manifest = manifest_of()
    fused = EdgeReport("z -> relu[0]", "float32", source=FUSED)
    object.__setattr__(manifest, "edges", (EdgeReport("y -> softmax[0]", "float32"), fused))
    write_artifact(tmp_path / "out", export, manifest)
    fields = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [edge["edge"] for edge in fields["stayed_float"]] == ["y -> softmax[0]"]
    assert fields["in_registers"] == ["z -> relu[0]"]


def test_measurements_are_added_to_an_artifact(tmp_path):
    folder = write_artifact(tmp_path / "out", export, manifest_of())
    written = read_manifest(folder)
    replace_manifest(folder, replace(written, latency_ms={"int8": 1.5}))
    assert read_manifest(folder) == replace(written, latency_ms={"int8": 1.5})
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "model.so"]


def test_a_failed_build_leaves_nothing(tmp_path):
    with pytest.raises(BuildError):
        write_artifact(tmp_path / "out", fail, manifest_of())
    assert list(tmp_path.iterdir()) == []


def test_a_failed_build_leaves_the_artifact_that_was_there(tmp_path):
    write_artifact(tmp_path / "out", export, manifest_of())
    with pytest.raises(BuildError):
        write_artifact(tmp_path / "out", fail, manifest_of())
    assert (tmp_path / "out" / "model.so").read_bytes() == b"a library"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_artifact_is_replaced(tmp_path):
    write_artifact(tmp_path / "out", export, manifest_of())
    write_artifact(tmp_path / "out", lambda path: path.write_bytes(b"newer"), manifest_of())
    assert (tmp_path / "out" / "model.so").read_bytes() == b"newer"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    write_artifact(tmp_path / "out", export, manifest_of())
    assert (tmp_path / "out" / "model.so").is_file()


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BuildError, match="not empty, and not an artifact"):
        write_artifact(tmp_path, export, manifest_of())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_refused_as_output(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(BuildError, match="is not a folder"):
        check_output(tmp_path / "out")


def test_an_unwritable_place_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="cannot be written"):
        check_output(tmp_path / "file" / "out")


def test_checking_the_output_creates_nothing(tmp_path):
    check_output(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
