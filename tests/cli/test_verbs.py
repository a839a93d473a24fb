"""Every verb as scripts use it: what goes to stdout, the exit code, what is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hago
from tests.cli.program import MACHINE, Program, save_data

HW = ("--hw", MACHINE)


def document(text: str) -> dict[str, object]:
    """The one JSON document that stdout is."""
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def test_compile_writes_an_artifact_and_shows_a_table(
    hago_program: Program, model: Path, data: Path, tmp_path: Path
) -> None:
    arguments = (model, *HW, "--data", data, "-o", tmp_path / "out", "--precision", "int8")
    done = hago_program("compile", *arguments)
    assert done.code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["manifest.json", "model.so"]
    for part in ("net.onnx on x86-avx2", "float32", "int8", "latency", "speed-up", "SQNR"):
        assert part in done.out
    assert "import model" in done.err


def test_a_library_may_be_stored_compressed(
    hago_program: Program, model: Path, data: Path, tmp_path: Path
) -> None:
    arguments = (model, *HW, "--precision", "float32", "-o", tmp_path / "out", "--compress")
    report = document(hago_program("compile", *arguments, "--json").out)
    files = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert sorted(files) == ["manifest.json", "model.so.gz"]
    assert report["compiled"]["size_bytes"] == sum(files.values())
    assert hago_program("bench", tmp_path / "out", "--json").code == 0


@pytest.mark.parametrize("precision", ["auto", "int8", "float32"])
def test_compile_prints_one_json_document(
    hago_program: Program, model: Path, data: Path, tmp_path: Path, precision: str
) -> None:
    arguments = (model, *HW, "--data", data, "-o", tmp_path / "out", "--precision", precision)
    done = hago_program("compile", *arguments, "--recipe", "mse", "--threads", 1, "--json")
    report = document(done.out)
    assert done.code == 0
    assert report["output"] == str(tmp_path / "out")
    assert report["compiled"]["latency_ms"] > 0
    assert {"edge", "chosen", "reason", "source"} <= set(report["edges"][0])


def test_the_methods_and_their_options_are_told_and_kept(
    hago_program: Program, model: Path, data: Path, tmp_path: Path
) -> None:
    arguments = (model, *HW, "--data", data, "-o", tmp_path / "out", "--precision", "int8")
    recipe = ("--recipe", "fast,percentile(keep=99.5)", "--weight-bits", 4)
    told = document(hago_program("compile", *arguments, *recipe, "--json").out)["recipe"]
    kept = document((tmp_path / "out" / "manifest.json").read_text())["recipe"]
    assert told == kept
    assert told["asked"] == "fast,percentile(keep=99.5)"
    methods = {method["name"]: method for method in told["methods"]}
    assert list(methods) == ["mse", "weight_mse", "percentile"]
    assert methods["percentile"]["options"] == {"keep": 99.5}
    assert "weights of 4 bits" in methods["weight_mse"]["reason"]


def test_the_table_names_the_recipe_and_its_reasons(
    hago_program: Program, model: Path, data: Path, tmp_path: Path
) -> None:
    arguments = (model, *HW, "--data", data, "-o", tmp_path / "out", "--precision", "int8")
    out = hago_program("compile", *arguments).out
    for part in ("recipe balanced", "1 convolution,", "os_plus", "rounds weights by what"):
        assert part in out


def test_recipes_lists_recipes_and_methods(hago_program: Program) -> None:
    found = document(hago_program("recipes", "--json").out)
    methods = {method["name"]: method for method in found["methods"]}
    assert {"fast", "balanced", "best"} <= {recipe["name"] for recipe in found["recipes"]}
    assert (methods["ada_round"]["needs"], methods["mse"]["needs"]) == ("torch", "")
    assert methods["percentile"]["options"] == [
        {"name": "keep", "type": "float", "default": 99.99}
    ]
    text = hago_program("recipes").out
    assert all(name in text for name in methods)
    assert all(name in text for name in ("balanced *", "keep=99.99", "arXiv 2004.10568"))


def test_float32_needs_no_data(hago_program: Program, model: Path, tmp_path: Path) -> None:
    arguments = (model, *HW, "-o", tmp_path / "out", "--precision", "float32")
    assert hago_program("compile", *arguments).code == 0


def test_run_maps_arrays_by_input_to_arrays_by_output(
    hago_program: Program, artifact: Path, data: Path, tmp_path: Path
) -> None:
    done = hago_program("run", artifact, "--input", data, "--output", tmp_path / "y.npz")
    assert (done.code, done.out, done.err) == (0, "", "")
    images, model = np.load(data)["image"], hago.load(artifact)
    expected = np.concatenate([model(image[None]) for image in images])
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["scores"], expected)


def test_run_takes_a_folder_of_arrays(
    hago_program: Program, artifact: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "image.npy", np.load(data)["image"])
    arguments = ("--input", tmp_path / "in", "--output", tmp_path / "y.npz", "--json")
    report = document(hago_program("run", artifact, *arguments).out)
    assert (report["samples"], report["shapes"]) == (4, {"scores": [4, 5]})


def test_bench_has_a_median(hago_program: Program, artifact: Path) -> None:
    done = hago_program("bench", artifact, "--seconds", 0.01, "--threads", 1, "--json")
    timing = document(done.out)
    assert done.code == 0
    assert 0 < timing["min_ms"] <= timing["median_ms"]
    assert "median" in hago_program("bench", artifact, "--seconds", 0.01).out


def test_inspect_names_every_edge_with_its_reason(hago_program: Program, model: Path) -> None:
    edges = document(hago_program("inspect", model, *HW, "--json").out)["edges"]
    assert all(edge["reason"] and edge["source"] for edge in edges)
    text = hago_program("inspect", model, *HW).out
    assert all(edge["edge"] in text for edge in edges)


def test_inspect_says_which_row_or_rule_keeps_an_edge_float(
    hago_program: Program, model: Path
) -> None:
    edges = document(hago_program("inspect", model, *HW, "--json").out)["edges"]
    sources = {edge["edge"]: edge["source"] for edge in edges if edge["chosen"] == "float32"}
    assert sources["add_1 -> output[0]"] == "rule"
    assert sources["conv2d -> add[0]"] == "rule: epilogue"
    chosen = next(edge for edge in edges if edge["edge"] == "conv2d.weight -> conv2d[1]")
    assert "x86_avx2.py:" in chosen["source"]


def test_explain_tells_scale_and_zero_point(hago_program: Program, artifact: Path) -> None:
    done = hago_program("explain", artifact, "permute_dims->conv2d[0]", "--json")
    edge = document(done.out)
    assert edge["chosen"] == "uint8 asymmetric"
    assert 0 < edge["scale"][0] <= edge["scale"][1]
    text = hago_program("explain", artifact, "permute_dims -> conv2d[0]").out
    assert "zero point" in text
    assert "x86_avx2.py:" in text


def test_spec_list_names_the_machines(hago_program: Program) -> None:
    assert {"x86-vnni", "arm-dotprod", "cuda-sm90"} <= set(
        document(hago_program("spec", "list", "--json").out)
    )
    assert "x86-vnni" in hago_program("spec", "list").out


def test_spec_show_and_check_take_names_and_files(hago_program: Program, tmp_path: Path) -> None:
    shown = document(hago_program("spec", "show", MACHINE, "--json").out)
    assert (shown["name"], len(shown["digest"])) == (MACHINE, 64)
    told = hago_program("spec", "show", MACHINE).out
    assert any("vpmaddubsw" in line and "u8 x s8.paired" in line for line in told.splitlines())
    source = Path(hago.__file__).parents[1] / "hwspecs" / "x86_avx2.py"
    own = tmp_path / "own.py"
    own.write_text(source.read_text().replace('"x86-avx2"', '"mine"'))
    checked = hago_program("spec", "check", own)
    assert (checked.code, "'mine' has" in checked.out) == (0, True)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("machine", ["x86-avx2", "cuda-sm90", "gaudi-fp8"])
def test_tables_fit_the_terminal(
    hago_program: Program, monkeypatch: pytest.MonkeyPatch, machine: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = hago_program("spec", "show", machine).out.splitlines()
    heading = next(line for line in lines if "operators" in line)
    assert heading.split()[-1] == "line"
    assert all(len(line) <= width for line in lines if ".py" not in line)


def test_dynamic_dimensions_are_fixed_by_shape(hago_program: Program, tmp_path: Path) -> None:
    from tests.onnx_models import node, normal, save

    nodes = [node("MatMul", "x w"), node("Relu", "y", "z")]
    model = save(tmp_path / "m.onnx", nodes, {"x": ("n", 8)}, {"w": normal(8, 4)}, outputs="z")
    data = save_data(tmp_path / "d.npz", x=normal(4, 3, 8))
    arguments = (*HW, "--data", data, "-o", tmp_path / "out", "--shape", "x=3x8", "--json")
    assert hago_program("compile", model, *arguments).code == 0
    assert hago.load(tmp_path / "out").inputs[0].shape == (3, 8)


def test_the_demo_shows_accuracy_of_both(hago_program: Program) -> None:
    report = document(hago_program("demo", "--hw", MACHINE, "--json").out)
    accuracy = [contestant["accuracy"] for contestant in report["contestants"]]
    # Of 1,000 digits at most 5 more are wrong: half a point.
    assert accuracy[0] > 0.98
    assert accuracy[1] >= accuracy[0] - 0.005
