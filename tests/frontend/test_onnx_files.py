"""What is wrong with a file is said in one error; names and shapes come out as given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from hago.errors import ModelError
from hago.frontend.onnx import import_onnx
from tests.onnx_models import node, normal, operators, save


@pytest.fixture
def model(tmp_path: Path) -> Path:
    weight = {"w": normal(8, 4)}
    return save(tmp_path / "model.onnx", [node("MatMul", "x w")], {"x": ("batch", 8)}, weight)


def refusal(path: Path, shapes: dict[str, tuple[int, ...]] | None = None) -> str:
    with pytest.raises(ModelError) as error:
        import_onnx(path, shapes or {})
    return str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "none.onnx: cannot read the model" in refusal(tmp_path / "none.onnx")


def test_a_directory_is_not_a_model(tmp_path: Path) -> None:
    assert "this is a directory" in refusal(tmp_path)


def test_an_empty_file_is_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.touch()
    assert "the file is empty" in refusal(path)


@pytest.mark.parametrize("text", ["hello", "ir_version: 8\ngraph {}\n", "\x08\x08"])
def test_text_is_not_a_model(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_text(text)
    assert "not an ONNX model" in refusal(path)


@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_file_is_not_a_model(model: Path, part: float) -> None:
    content = model.read_bytes()
    model.write_bytes(content[: int(len(content) * part)])
    assert refusal(model).startswith(str(model))


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [node("MatMul", "x w")], {"x": (1, 64)}, {"w": normal(64, 64)})
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="m.data")
    assert operators(import_onnx(path)) == ["matmul"]
    (tmp_path / "m.data").unlink()
    assert "its external data cannot be read" in refusal(path)


@pytest.mark.parametrize("opset", [6, 29])
def test_an_opset_outside_the_range_is_refused(tmp_path: Path, opset: int) -> None:
    path = save(tmp_path / "m.onnx", [node("Relu", "x")], {"x": (1,)}, opset=opset)
    assert f"opset {opset} is not supported" in refusal(path)


@pytest.mark.parametrize("opset", range(11, 22))
def test_every_opset_of_the_range_is_read(tmp_path: Path, opset: int) -> None:
    path = save(tmp_path / "m.onnx", [node("Relu", "x")], {"x": (1,)}, opset=opset)
    assert operators(import_onnx(path)) == ["nn.relu"]


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    constants = {"w": normal(3), "bad": np.array([0, np.nan, 0], np.float32)}
    constants["worse"] = np.array([np.inf, 0, 0], np.float32)
    nodes = [node("Add", "x w", "a"), node("Sub", "a bad", "b"), node("Sub", "b worse")]
    path = save(tmp_path / "m.onnx", nodes, {"x": (3,)}, constants)
    assert "'bad' has NaN, 'worse' has infinities" in refusal(path)


def test_an_infinity_that_masks_is_no_broken_weight(tmp_path: Path) -> None:
    mask = {"mask": np.array([0, -np.inf, 0], np.float32)}
    path = save(tmp_path / "m.onnx", [node("Add", "x mask")], {"x": (3,)}, mask)
    assert operators(import_onnx(path)) == ["add"]


def test_every_unsupported_operator_is_named_at_once(tmp_path: Path) -> None:
    inner = onnx.helper.make_graph([node("Mystery", "x", "deep")], "body", [], [])
    nodes = [
        node("Loop", "_ c x", "a", body=inner),
        node("Col2Im", "x", "b"),
        node("Col2Im", "x", "d"),
        node("Relu", "x"),
        onnx.helper.make_node("TreeEnsemble", ["x"], ["e"], name="tree", domain="ai.onnx.ml"),
    ]
    constants = {"c": np.array(True)}
    path = save(tmp_path / "m.onnx", nodes, {"x": (1, 1, 1)}, constants)
    message = refusal(path)
    assert "4 operators are not supported" in message
    for part in ("Col2Im: make_b, make_d", "Loop: make_a", "Mystery: make_deep"):
        assert part in message
    assert "ai.onnx.ml.TreeEnsemble: tree" in message


def test_a_value_that_nothing_makes_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [node("Add", "x ghost")], {"x": (3,)})
    assert "nothing makes 'ghost' for node 'make_y'" in refusal(path)


@pytest.mark.parametrize("made", ["w", "y"])
def test_an_output_that_is_a_constant_is_named(tmp_path: Path, made: str) -> None:
    nodes = [node("Relu", "x", "z"), node("Neg", "w")]
    path = save(tmp_path / "m.onnx", nodes, {"x": (3,)}, {"w": normal(3)}, outputs=f"z {made}")
    assert f"output '{made}' is a constant" in refusal(path)


def test_a_dimension_without_a_size_names_the_flag_to_give(model: Path) -> None:
    message = refusal(model)
    assert "dimensions without a size in 'x'" in message
    assert "x is batchx8" in message
    assert "--shape x=<batch>x8" in message


def test_given_shapes_fix_dynamic_dimensions(model: Path) -> None:
    module = import_onnx(model, {"x": (3, 8)})
    assert [int(d) for d in module["main"].ret_ty.shape] == [3, 4]


@pytest.mark.parametrize("shape", [(3, 9), (3,), (3, 8, 1)])
def test_a_shape_that_contradicts_the_model_is_refused(model: Path, shape: tuple[int]) -> None:
    assert "input 'x' cannot have the shape" in refusal(model, {"x": shape})


def test_a_shape_for_no_input_suggests_the_nearest(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [node("Relu", "image")], {"image": ("n",)})
    assert "Did you mean 'image'?" in refusal(path, {"imgae": (1,)})


@pytest.mark.parametrize("shape", [(0, 8), (2, 0)])
def test_a_zero_size_dimension_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = save(tmp_path / "m.onnx", [node("Relu", "x")], {"x": shape})
    assert "input 'x' has a zero-size dimension" in refusal(path)


def test_the_names_in_the_file_are_kept(tmp_path: Path) -> None:
    nodes = [node("Relu", "in.1", "out:0"), node("Tanh", "in/1", "2nd")]
    path = save(tmp_path / "m.onnx", nodes, {"in.1": (2,), "in/1": (2,)}, outputs="out:0 2nd")
    main = import_onnx(path)["main"]
    assert [p.name for p in main.params] == ["in_1", "in_1_"]
    assert list(main.attrs["hago.input_names"]) == ["in.1", "in/1"]
    assert list(main.attrs["hago.output_names"]) == ["out:0", "2nd"]


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [node("Relu", "x", "z")], {"x": (2,)}, outputs="z")
    model = onnx.load(path)
    opsets = [onnx.helper.make_opsetid("", 17)]
    body = [onnx.helper.make_node("Tanh", ["a"], ["b"])]
    model.functions.append(onnx.helper.make_function("own", "F", ["a"], ["b"], body, opsets))
    model.opset_import.append(onnx.helper.make_opsetid("own", 1))
    model.graph.node.append(onnx.helper.make_node("F", ["z"], ["y"], domain="own"))
    model.graph.output[0].name = "y"
    onnx.save(model, path)
    assert operators(import_onnx(path)) == ["nn.relu", "tanh"]
