"""Models that cannot be used: one clear error on stderr, exit code 2, nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.cli.program import MACHINE, Program, save_network
from tests.cli.refusals import (
    Make,
    assert_nothing_written,
    assert_refused,
    empty_file,
    names,
    text_file,
)
from tests.onnx_models import node, save


def truncated(folder: Path) -> Path:
    path = save_network(folder / "m.onnx")
    path.write_bytes(path.read_bytes()[:-400])
    return path


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




def test_a_file_of_pytorch_is_refused_unread(hago_program: Program, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"whatever")
    done = hago_program("inspect", path, "--hw", MACHINE)
    assert_refused(done, "a file of PyTorch's", "hago.import_torch")


def test_an_unsupported_attribute_names_its_node(hago_program: Program, tmp_path: Path) -> None:
    nodes = [node("BatchNormalization", "x s s s s", "y", training_mode=1)]
    ones = np.ones(3, np.float32)
    path = save(tmp_path / "m.onnx", nodes, {"x": (1, 3, 4, 4)}, {"s": ones})
    done = hago_program("inspect", path, "--hw", MACHINE)
    assert_refused(done, "node 'make_y' (BatchNormalization)", "training mode")
