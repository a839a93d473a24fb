"""What a user is told of layers that keep wider weights than was asked for."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.program import MACHINE, Program

KEPT = "the first and the last layers keep the machine's own weights"
FOUR_BITS = ("--hw", MACHINE, "--precision", "int8", "--recipe", "fast", "--weight-bits", 4)


def test_the_table_says_which_layers_keep_their_bits(
    hago_program: Program, model: Path, data: Path, tmp_path: Path
) -> None:
    done = hago_program("compile", model, "--data", data, "-o", tmp_path / "out", *FOUR_BITS)
    assert "stays int" in done.out
    assert KEPT in done.out


def test_the_ends_are_narrowed_on_demand(
    hago_program: Program, model: Path, data: Path, tmp_path: Path
) -> None:
    arguments = (model, "--data", data, "-o", tmp_path / "out", *FOUR_BITS)
    done = hago_program("compile", *arguments, "--narrow-ends", "--json")
    weights = [e for e in json.loads(done.out)["edges"] if ".weight ->" in e["edge"]]
    assert weights
    assert all(edge["chosen"].startswith("int4") for edge in weights)
    assert KEPT not in done.out


def test_the_artifact_tells_what_its_constants_take(
    hago_program: Program, model: Path, data: Path, tmp_path: Path
) -> None:
    arguments = (model, "--data", data, "-o", tmp_path / "out", *FOUR_BITS)
    done = hago_program("compile", *arguments, "--narrow-ends", "--json")
    told = json.loads(done.out)["constants"]
    assert 0 < told["stored"] < told["float32"]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["constants"] == told
