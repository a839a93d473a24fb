"""The program in a process of its own: its streams, its exit codes, and being stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.program import MACHINE, parts_of, run_program, save_data, start_program
from tests.onnx_models import node, normal, save


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that takes several seconds to compile, and data for it."""
    folder = tmp_path_factory.mktemp("slow")
    names = [f"v{i}" for i in range(13)]
    nodes = [node("Conv", f"{x} w{i}", y, pads=[1, 1, 1, 1]) for i, (x, y) in enumerate(
        zip(["x", *names], [*names, "y"], strict=True))]  # fmt: skip
    weights = {f"w{i}": normal(16 + i, 15 + i, 3, 3, seed=i) / 20 for i in range(14)}
    save(folder / "m.onnx", nodes, {"x": (1, 15, 12, 12)}, weights)
    save_data(folder / "d.npz", x=normal(4, 15, 12, 12))
    return folder


def test_stdout_is_one_json_document(model: Path, data: Path, tmp_path: Path) -> None:
    arguments = (model, "--hw", MACHINE, "--data", data, "-o", "out", "--precision", "int8")
    done = run_program("compile", *arguments, "--json", cwd=tmp_path)
    assert done.code == 0
    assert json.loads(done.out)["precision"] == "int8"
    assert done.err.splitlines()[0].strip().startswith("import model")


def test_an_error_is_all_there_is_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("no model")
    done = run_program("inspect", "m.onnx", "--hw", MACHINE, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert parts_of(done.err) == done.err.splitlines()
    assert done.err.startswith("ModelError: m.onnx: not an ONNX model")


def test_without_a_command_the_program_shows_its_commands(tmp_path: Path) -> None:
    done = run_program(cwd=tmp_path)
    assert done.code == 2
    for verb in ("compile", "run", "bench", "inspect", "explain", "spec", "demo"):
        assert verb in done.out + done.err


def test_an_interrupted_compilation_leaves_nothing(slow: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = (slow / "m.onnx", "--hw", MACHINE, "--data", slow / "d.npz", "-o", "out")
    environment = {"TMPDIR": str(scratch)}
    process = start_program("compile", *arguments, cwd=tmp_path, environment=environment)
    wait_for(process, "calibrate")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == ["scratch"]
    assert os.listdir(scratch) == []


def wait_for(process: subprocess.Popen[str], stage: str) -> None:
    """Until the program has told that ``stage`` is over; what is left to do is the longest."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.strip().startswith(stage):
            return
    raise AssertionError(f"the program ended before '{stage}' was over")
