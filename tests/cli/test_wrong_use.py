"""Each wrong use gives one clear error on stderr, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from hago.cli.app import tell_defect
from hago.hardware.load import spec_folder
from tests.cli.program import MACHINE, Outcome, Program, parts_of, save_data, save_network
from tests.onnx_models import node, normal, save

IMAGES = normal(4, 3, 8, 8, seed=4)
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


# ---- models


def truncated(folder: Path) -> Path:
    path = save_network(folder / "m.onnx")
    path.write_bytes(path.read_bytes()[:-400])
    return path


def text_file(folder: Path) -> Path:
    (folder / "m.onnx").write_text("this is no model")
    return folder / "m.onnx"


def empty_file(folder: Path) -> Path:
    (folder / "m.onnx").touch()
    return folder / "m.onnx"


def changed(change: Callable[[onnx.ModelProto], object]) -> Make:
    def make(folder: Path) -> Path:
        model = onnx.load(save_network(folder / "m.onnx"))
        change(model)
        onnx.save(model, folder / "m.onnx")
        return folder / "m.onnx"

    return make


def with_nan(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[3] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))


def with_zero_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 0


def with_huge_input(model: onnx.ModelProto) -> None:
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 2**40


def with_huge_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 2**40


def with_data_outside(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "../../../etc/hostname", "offset": "0"}.items():
        entry = weight.external_data.add()
        entry.key, entry.value = key, value


def with_unknown_operators(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Mystery"
    model.graph.node[1].op_type = "Riddle"


MODELS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "truncated": (truncated, ("m.onnx",)),
    "text": (text_file, ("not an ONNX model",)),
    "empty": (empty_file, ("the file is empty",)),
    "missing": (lambda folder: folder / "none.onnx", ("none.onnx: cannot read the model",)),
    "a folder": (lambda folder: folder, ("this is a directory",)),
    "NaN weight": (changed(with_nan), ("'w' has NaN",)),
    "zero size": (changed(with_zero_size), ("zero-size dimension", "1x3x0x8")),
    "huge input": (changed(with_huge_input), ("input 'image' is too large",)),
    "huge weight": (changed(with_huge_weight), ("m.onnx", "'w'")),
    "external data outside": (changed(with_data_outside), ("external data",)),
    "unknown operators": (changed(with_unknown_operators), ("Mystery", "Riddle")),
}


@pytest.mark.parametrize("verb", ["compile", "inspect"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_cannot_be_used(
    hago_program: Program, data: Path, tmp_path: Path, name: str, verb: str
) -> None:
    make, parts = MODELS[name]
    model = make(tmp_path)
    before = names(tmp_path)
    arguments = (verb, model, "--hw", MACHINE)
    if verb == "compile":
        arguments = (*arguments, "--data", data, "-o", tmp_path / "out")
    assert_refused(hago_program(*arguments), *parts)
    assert_nothing_written(tmp_path, before)


# ---- data


def pickled(folder: Path) -> Path:
    """Arrays of objects whose loading would write a file."""
    array = np.empty(4, object)
    array[:] = Trap(folder / "trapped")
    np.savez(folder / "d.npz", image=array)
    return folder / "d.npz"


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def plain_pickle(folder: Path) -> Path:
    (folder / "d.npz").write_bytes(pickle.dumps(Trap(folder / "trapped")))
    return folder / "d.npz"


def arrays(**values: np.ndarray) -> Make:
    return lambda folder: save_data(folder / "d.npz", **values)


def half_a_file(folder: Path) -> Path:
    path = save_data(folder / "d.npz")
    path.write_bytes(path.read_bytes()[:2000])
    return path


def damaged_middle(folder: Path) -> Path:
    path = save_data(folder / "d.npz")
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    return path


def empty_archive(folder: Path) -> Path:
    np.savez(folder / "d.npz")
    return folder / "d.npz"


def empty_folder(folder: Path) -> Path:
    (folder / "d").mkdir()
    return folder / "d"


def poisoned(value: float) -> np.ndarray:
    images = IMAGES.copy()
    images[2, 1, 0, 3] = value
    return images


DATA: dict[str, tuple[Make, tuple[str, ...]]] = {
    "missing": (lambda folder: folder / "none.npz", ("none.npz",)),
    "wrong key": (arrays(imgae=IMAGES), ("no input 'imgae'", "did you mean 'image'")),
    "another key": (arrays(image=IMAGES, extra=IMAGES), ("no input 'extra'",)),
    "wrong shape": (arrays(image=normal(4, 8, 8, 3)), ("[8, 8, 3]", "[1, 3, 8, 8]")),
    "wrong dtype": (arrays(image=IMAGES.astype(complex)), ("complex128", "float32")),
    "text": (arrays(image=np.full(IMAGES.shape, "a")), ("image", "float32")),
    "NaN": (arrays(image=poisoned(np.nan)), ("sample 2", "'image'", "nan")),
    "infinity": (arrays(image=poisoned(np.inf)), ("sample 2", "'image'", "inf")),
    "no samples": (arrays(image=IMAGES[:0]), ("no samples",)),
    "objects": (pickled, ("objects",)),
    "a pickle": (plain_pickle, ("cannot be read",)),
    "half a file": (half_a_file, ("cannot be read",)),
    "damaged": (damaged_middle, ("cannot be read",)),
    "no arrays": (empty_archive, ("no arrays",)),
    "an empty folder": (empty_folder, ("no arrays",)),
    "text file": (text_file, ("cannot be read",)),
    "empty file": (empty_file, ("cannot be read",)),
}


@pytest.mark.parametrize("name", DATA)
def test_calibration_data_that_cannot_be_used(
    hago_program: Program, model: Path, tmp_path: Path, name: str
) -> None:
    make, parts = DATA[name]
    data = make(tmp_path)
    before = names(tmp_path)
    arguments = ("--hw", MACHINE, "--data", data, "-o", tmp_path / "out", "--precision", "int8")
    assert_refused(hago_program("compile", model, *arguments), *parts)
    assert_nothing_written(tmp_path, before)


@pytest.mark.parametrize("name", DATA)
def test_inputs_that_cannot_be_used(
    hago_program: Program, artifact: Path, tmp_path: Path, name: str
) -> None:
    make, parts = DATA[name]
    data = make(tmp_path)
    before = names(tmp_path)
    done = hago_program("run", artifact, "--input", data, "--output", tmp_path / "y.npz")
    assert_refused(done, *parts)
    assert_nothing_written(tmp_path, before)


def test_data_is_asked_for_where_it_is_needed(
    hago_program: Program, model: Path, tmp_path: Path
) -> None:
    arguments = ("--hw", MACHINE, "-o", tmp_path / "out", "--precision", "int8")
    assert_refused(hago_program("compile", model, *arguments), "no calibration data", "--data")


# ---- machines

HEAD = "from hago.hardware import f32, machine, memory, op, s8, s32, u8\n"
BODY = (
    'M = machine("m", description="d", target={"kind": "llvm"}, memory=memory(l1="32K", l2="1M"),\n'
    "  ops=[op('conv2d', u8, s8, sums_in=s32, gives=(f32,), by='vpdpbusd',\n"
    "          throughput=THROUGHPUT)])\n"
)
SPECS = {
    "raises": (f"{HEAD}raise RuntimeError('broken')\n", ("RuntimeError", "broken", "spec.py:2")),
    "exits": (f"{HEAD}import sys\nsys.exit(0)\n", ("SystemExit", "spec.py:3")),
    "syntax": (f"{HEAD}x = = 2\n", ("SyntaxError", "spec.py:2")),
    "unknown word": ("from hago.hardware import u9\n", ("ImportError", "u9", "spec.py:1")),
    "nothing": (HEAD, ("0 machines",)),
    "two": (HEAD + (BODY + BODY.replace("M =", "N =").replace('"m"', '"n"')).replace(
        "THROUGHPUT", "1"), ("2 machines",)),
    "infinite": (HEAD + BODY.replace("THROUGHPUT", "float('inf')"), ("inf", "spec.py:3")),
    "NaN": (HEAD + BODY.replace("THROUGHPUT", "float('nan')"), ("nan", "spec.py:3")),
    "negative": (HEAD + BODY.replace("THROUGHPUT", "-2"), ("-2", "spec.py:3")),
    "binary": ("\0\0\1", ("spec.py",)),
    "unknown operator": (
        HEAD + BODY.replace("THROUGHPUT", "1").replace("conv2d", "conv2"),
        ("conv2", "conv2d", "spec.py:3"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_a_specification_that_is_wrong(
    hago_program: Program, model: Path, tmp_path: Path, name: str
) -> None:
    text, parts = SPECS[name]
    path = tmp_path / "spec.py"
    path.write_text(text)
    assert_refused(hago_program("spec", "check", path), *parts)
    assert_refused(hago_program("inspect", model, "--hw", path), *parts)


@pytest.mark.parametrize(
    "arguments", [("spec", "show"), ("spec", "check"), ("inspect", "m", "--hw")]
)
def test_an_unknown_machine_suggests_the_nearest(
    hago_program: Program, arguments: tuple[str, ...]
) -> None:
    assert_refused(hago_program(*arguments, "x86-vni"), "'x86-vni'", "Did you mean 'x86-vnni'?")


def test_a_machine_without_kernels_can_be_inspected_only(
    hago_program: Program, model: Path, data: Path, tmp_path: Path
) -> None:
    source = spec_folder() / "gaudi_fp8.py"
    own = tmp_path / "own.py"
    own.write_text(source.read_text().replace("is_model=True", "is_model=False"))
    assert hago_program("inspect", model, "--hw", own).code == 0
    arguments = ("--hw", own, "--data", data, "-o", tmp_path / "out")
    assert_refused(hago_program("compile", model, *arguments), "gaudi-fp8", "hago inspect")


# ---- options

OPTIONS = {
    "precision": (("--precision", "int9"), ("int9", "did you mean 'int8'", "bf16")),
    "recipe": (("--recipe", "mse,perzentile"), ("perzentile", "did you mean 'percentile'")),
    "empty recipe": (("--recipe", ","), ("names no method",)),
    "recipe's name": (("--recipe", "balancd"), ("balancd", "did you mean 'balanced'")),
    "recipe left open": (
        ("--recipe", "percentile(keep=99"), ("( is never closed", "percentile(keep=99", "^"),
    ),
    "method's option": (
        ("--recipe", "percentile(kepe=99)"), ("did you mean 'keep'", "keep: float = 99.99"),
    ),
    "option of another type": (
        ("--recipe", "percentile(keep='99')"), ("of type str", "keep: float = 99.99"),
    ),
    "option out of range": (("--recipe", "percentile(keep=0)"), ("percentile: keep=0",)),
    "code for a recipe": (("--recipe", "__import__('os').abort()"), ("method's name", "^")),
    "shape": (("--shape", "image"), ("--shape image", "image=1x3x224x224")),
    "shape of words": (("--shape", "image=axb"), ("image=axb",)),
    "shape of nothing": (("--shape", "image=1x3x0x8"), ("size of 0",)),
    "shape twice": (("--shape", "image=1x3x8x8") * 2, ("has a shape already",)),
    "shape for no input": (("--shape", "imag=1x3x8x8"), ("'imag'", "Did you mean 'image'?")),
    "another shape": (("--shape", "image=1x3x9x9"), ("1x3x9x9", "1x3x8x8")),
    "no threads": (("--threads", "0"), ("--threads", "1")),
    "threads": (("--threads", "many"), ("--threads", "integer")),
    "too many threads": (("--threads", "100000"), ("100000 threads",)),
    "unknown option": (("--recipy", "mse"), ("--recipy", "--recipe")),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_is_wrong(
    hago_program: Program, model: Path, data: Path, tmp_path: Path, name: str
) -> None:
    options, parts = OPTIONS[name]
    arguments = ("--hw", MACHINE, "--data", data, "-o", tmp_path / "out", *options)
    assert_refused(hago_program("compile", model, *arguments), *parts)
    assert_nothing_written(tmp_path, set())


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("cmpile",), "compile"),
        (("compile",), "MODEL"),
        (("compile", "m.onnx"), "--hw"),
        (("run", "dir"), "--input"),
        (("explain", "dir"), "EDGE"),
        (("spec", "lst"), "list"),
    ],
)
def test_a_command_that_is_incomplete(
    hago_program: Program, arguments: tuple[str, ...], part: str
) -> None:
    assert_refused(hago_program(*arguments), part, "--help")


# ---- output


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


# ---- artifacts


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


def test_a_defect_is_told_in_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tell_defect(ValueError, ValueError("odd"), None)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "hago has a defect: ValueError: odd"
    assert "HAGO_DEBUG=1" in lines[1]


def test_an_unsupported_attribute_names_its_node(hago_program: Program, tmp_path: Path) -> None:
    nodes = [node("BatchNormalization", "x s s s s", "y", training_mode=1)]
    ones = np.ones(3, np.float32)
    path = save(tmp_path / "m.onnx", nodes, {"x": (1, 3, 4, 4)}, {"s": ones})
    done = hago_program("inspect", path, "--hw", MACHINE)
    assert_refused(done, "node 'make_y' (BatchNormalization)", "training mode")
