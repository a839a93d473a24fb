"""What a user is told of layers that keep wider weights than was asked for."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.program import MACHINE, Program

KEPT = "the first and the last layers keep the machine's own bits"
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


def test_activations_are_narrowed_on_demand(
    hago_program: Program, model: Path, data: Path, tmp_path: Path
) -> None:
    arguments = (model, "--data", data, "-o", tmp_path / "out", *FOUR_BITS)
    done = hago_program("compile", *arguments, "--activation-bits", 6, "--narrow-ends", "--json")
    chosen = {e["edge"]: e["chosen"] for e in json.loads(done.out)["edges"]}
    codes = [text for edge, text in chosen.items() if ".weight" not in edge and "int" in text]
    assert codes
    assert all(text.startswith("uint6") for text in codes)


def test_each_edge_of_the_artifact_tells_its_bits_and_why(
    hago_program: Program, model: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = (*FOUR_BITS, "--activation-bits", 6, "--narrow-ends", "--weight-group", 4)
    done = hago_program("compile", model, "--data", data, "-o", out, *options, "--json")
    chosen = {e["edge"]: e["chosen"] for e in json.loads(done.out)["edges"]}
    expected = {
        "conv2d.weight -> conv2d[1]": ("int4 per channel", "codes of 4 bits"),
        "matmul.weight -> matmul[1]": ("int4 per group of 4", "codes of 4 bits"),
        **{edge: (text, "codes of 6 bits") for edge, text in chosen.items() if "uint" in text},
    }
    assert len(expected) > 3
    for edge, parts in expected.items():
        told = hago_program("explain", out, edge).out
        assert all(part in told for part in parts), told
