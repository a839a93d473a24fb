"""hago diagnose as a user runs it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

import hago.figure
from hago.errors import DataError
from tests.cli.program import MACHINE, Program, parts_of, save_data, start_program
from tests.cli.test_process import wait_for
from tests.onnx_models import normal

HW = ("--hw", MACHINE)


@pytest.fixture(scope="module")
def told(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The outputs of one run in a process of its own: the page, and the document on stdout."""
    folder = tmp_path_factory.mktemp("diagnosis")
    arguments = (model, *HW, "--data", data, "--recipe", "min_max", "--samples", 2)
    process = start_program("diagnose", *arguments, "--json", "--html", "d.html", cwd=folder)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    (folder / "d.json").write_text(out)
    return folder / "d.html", folder / "d.json"


def test_json_has_every_rounding_with_its_costs_and_remedies(told: tuple[Path, Path]) -> None:
    found = json.loads(told[1].read_text())
    assert (found["samples"], found["recipe"]["asked"]) == (2, "min_max")
    assert sorted(found["worst"]) == sorted(edge["edge"] for edge in found["edges"])
    for edge in found["edges"]:
        assert {"own_db", "alone_db", "together_db", "clipped", "remedies", "bars"} <= set(edge)
        assert edge["own_db"] > 20


def test_the_page_stands_by_itself(told: tuple[Path, Path]) -> None:
    page = told[0].read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "conv2d.weight -&gt; conv2d[1]" in page
    assert "<script" not in page


def test_tables_tell_where_and_what_would_mend_it(
    hago_program: Program, model: Path, data: Path
) -> None:
    arguments = (model, *HW, "--data", data, "--recipe", "min_max", "--samples", 2, "--worst", 3)
    done = hago_program("diagnose", *arguments)
    assert done.code == 0, done.err
    for part in ("net.onnx on x86-avx2", "SQNR", "3 of", "of the noise", "would mend", "grid",
                 "worst edges in float32"):  # fmt: skip
        assert part in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines())
    assert "round edges" in done.err


WRONG = {
    "model": (("diagnose", "m.onnx", *HW, "--data", "d.npz"), ("m.onnx",)),
    "no data": (("diagnose", "m.onnx", *HW), ("--data",)),
    "recipe": (("--recipe", "perzentile"), ("did you mean 'percentile'",)),
    "recipe left open": (("--recipe", "mse("), ("( is never closed",)),
    "no samples": (("--samples", "0"), ("--samples",)),
    "no edges": (("--worst", "0"), ("--worst",)),
    "bits": (("--weight-bits", "9"), ("no weights of 9 bits",)),
    "activations": (("--activation-bits", "1"), ("no activations of 1 bits",)),
    "shape": (("--shape", "image"), ("--shape image",)),
    "page in no folder": (("--html", "no/d.html"), ("no/d.html", "folder does not exist")),
    "page as a folder": (("--html", "."), ("it is a folder",)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused(
    hago_program: Program, model: Path, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, name: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    options, parts = WRONG[name]
    start = () if options[0] == "diagnose" else ("diagnose", model, *HW, "--data", data)
    done = hago_program(*start, *options)
    assert (done.code, done.out) == (2, "")
    told = " ".join(" ".join(parts_of(done.err)).split())
    assert all(part in told for part in parts), told
    assert os.listdir(tmp_path) == []


def test_data_that_does_not_fit_is_refused(
    hago_program: Program, model: Path, tmp_path: Path
) -> None:
    for values, words in (
        (normal(4, 3, 9, 9), "the model takes"),
        (np.full((4, 3, 8, 8), np.nan, np.float32), "not finite"),
    ):
        data = save_data(tmp_path / "d.npz", image=values)
        done = hago_program("diagnose", model, *HW, "--data", data)
        assert done.code == 2
        assert words in done.err


def test_a_page_needs_its_libraries_before_the_long_work(
    hago_program: Program, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking() -> None:
        raise hago.figure.missing_library(ImportError("No module named 'matplotlib'"))

    monkeypatch.setattr("hago.diagnose.page.check_libraries", lacking)
    done = hago_program("diagnose", model, *HW, "--data", data, "--html", tmp_path / "d.html")
    assert done.code == 2
    assert isinstance(hago.figure.missing_library(ImportError("x")), DataError)
    assert "hago[report]" in done.err
    assert "import model" not in done.err


def test_an_interrupted_diagnosis_leaves_nothing(
    model: Path, data: Path, tmp_path: Path
) -> None:
    arguments = (model, *HW, "--data", data, "--html", "d.html")
    process = start_program("diagnose", *arguments, cwd=tmp_path)
    wait_for(process, "calibrate")  # what is left, the simulation and the page, takes seconds
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == []
