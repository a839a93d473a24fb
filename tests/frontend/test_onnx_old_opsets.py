"""Opsets 7 to 10: their operators have attributes where later ones have inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from hago.errors import ModelError
from hago.frontend.onnx import import_onnx
from tests.onnx_models import assert_close, node, normal, run, save

SHAPE = (1, 2, 4, 6)


def asymmetric(x: np.ndarray, scale: float, axis: int, mode: str) -> np.ndarray:
    """Element i of the result lies at i / scale (Upsample, and Resize of opset 10)."""
    size = x.shape[axis]
    place = np.arange(int(np.floor(size * scale))) / scale
    low = np.minimum(np.floor(place).astype(int), size - 1)
    if mode == "nearest":
        return np.take(x, low, axis)
    high = np.minimum(low + 1, size - 1)
    along = [-1 if each == axis else 1 for each in range(x.ndim)]
    share = (place - low).reshape(along)
    return np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share


def resized(scale: float, mode: str) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: asymmetric(asymmetric(x, scale, 2, mode), scale, 3, mode)


def scales(scale: float) -> np.ndarray:
    return np.array([1, 1, scale, scale], np.float32)


CASES = {
    "clip": ([7, 10], node("Clip", "x", min=-0.5, max=0.7), {}, lambda x: x.clip(-0.5, 0.7)),
    "slice": (
        [7, 9],
        node("Slice", "x", axes=[2, 3], starts=[1, -3], ends=[3, 99]),
        {},
        lambda x: x[:, :, 1:3, -3:],
    ),
    "pad": (
        [7, 10],
        node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 1, 0], value=2.0),
        {},
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 0)), constant_values=2),
    ),
    "squeeze": ([7, 10], node("Squeeze", "x", axes=[0]), {}, lambda x: x[0]),
    "mean": ([7, 10], node("ReduceMean", "x", axes=[2], keepdims=0), {}, lambda x: x.mean(2)),
    **{
        f"upsample {mode} by {scale}": (
            [7, 8],
            node("Upsample", "x", mode=mode, scales=scales(scale).tolist()),
            {},
            resized(scale, mode),
        )
        for mode in ("nearest", "linear")
        for scale in (1.5, 2.0, 2.5)
    },
    **{
        f"resize {mode} by {scale}": (
            [10],
            node("Resize", "x s", mode=mode),
            {"s": scales(scale)},
            resized(scale, mode),
        )
        for mode in ("nearest", "linear")
        for scale in (0.5, 2.0, 3.0)
    },
}


@pytest.mark.parametrize(
    ("opset", "case"), [(opset, name) for name, case in CASES.items() for opset in case[0]]
)
def test_an_operator_means_what_its_opset_says(tmp_path: Path, opset: int, case: str) -> None:
    _, operator, constants, expected = CASES[case]
    path = save(tmp_path / "m.onnx", [operator], {"x": SHAPE}, constants, opset=opset)
    x = normal(*SHAPE)
    assert_close(run(import_onnx(path), x)[0], expected(x), terms=64)


def test_what_the_converter_cannot_do_is_told(tmp_path: Path) -> None:
    largest, constants = node("TopK", "x k", "y i"), {"k": np.array([2])}
    path = save(tmp_path / "m.onnx", [largest], {"x": (4,)}, constants, opset=9)
    with pytest.raises(ModelError, match="opset 9 cannot be converted to 11") as error:
        import_onnx(path)
    assert "'k'" in str(error.value)


def test_graphs_inside_of_nodes_are_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, None)
    inner = helper.make_graph([node("Clip", "x", "a", min=0.0)], "inner", [], [value])
    choice = node("If", "c", then_branch=inner, else_branch=inner)
    constants = {"c": np.array(True)}
    path = save(tmp_path / "m.onnx", [choice], {"x": (4,)}, constants, opset=8)
    with pytest.raises(ModelError, match="has a graph of its own"):
        import_onnx(path)
