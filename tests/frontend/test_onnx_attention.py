"""Attention and rotations of ONNX: one kernel behind the import, and rows that see nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from hago.dataflow import read_dataflow
from hago.errors import ModelError
from hago.frontend.onnx import import_onnx
from hago.methods.attention import find_attention
from hago.prepare import prepare
from tests.onnx_models import assert_close, node, normal, run, save

ROWS, HEADS, WIDTH = 6, 2, 8
SHAPE = (1, ROWS, HEADS * WIDTH)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis; zeros where a row has no finite score."""
    exponentials = np.exp(scores - np.maximum(scores.max(-1, keepdims=True), -1e30))
    return exponentials / np.maximum(exponentials.sum(-1, keepdims=True), 1e-30)


def heads_of(x: np.ndarray) -> np.ndarray:
    return x.reshape(1, ROWS, HEADS, WIDTH).transpose(0, 2, 1, 3)


def attention(x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Of ``x`` as queries, keys and values."""
    heads = heads_of(x)
    shares = softmax(heads @ heads.transpose(0, 1, 3, 2) / np.sqrt(WIDTH) + bias)
    return (shares @ heads).transpose(0, 2, 1, 3).reshape(SHAPE)


def layer(path: Path, mask: str = "", **attributes: int) -> Path:
    """Attention between products, so that it stands where a network has it."""
    square = HEADS * WIDTH
    nodes = [node("MatMul", f"x {name}", f"x{name}") for name in "qkv"]
    operands = f"xq xk xv {mask}"
    nodes.append(node("Attention", operands, "a", q_num_heads=HEADS, kv_num_heads=HEADS,
                      **attributes))  # fmt: skip
    nodes.append(node("MatMul", "a o"))
    weights = {name: normal(square, square, seed=i) for i, name in enumerate("qkvo")}
    return save(path, nodes, {"x": SHAPE}, weights, opset=24)


@pytest.mark.parametrize("causal", [0, 1])
def test_an_attention_is_found_as_one(tmp_path: Path, causal: int) -> None:
    module = import_onnx(layer(tmp_path / "m.onnx", is_causal=causal))
    assert len(find_attention(read_dataflow(prepare(module)))) == 1


@pytest.mark.parametrize("known", [True, False], ids=["constant", "input"])
def test_a_row_whose_mask_leaves_it_nothing_gives_zeros(tmp_path: Path, known: bool) -> None:
    mask = np.random.default_rng(0).random((ROWS, ROWS)) < 0.5
    mask[2] = False
    operator = node("Attention", "x x x m", q_num_heads=HEADS, kv_num_heads=HEADS)
    inputs = {"x": SHAPE}
    if known:
        path = save(tmp_path / "m.onnx", [operator], inputs, {"m": mask}, opset=23)
        feeds = [normal(*SHAPE)]
    else:
        as_bool = node("Cast", "n", "m", to=onnx.TensorProto.BOOL)
        path = save(tmp_path / "m.onnx", [as_bool, operator], {**inputs, "n": mask.shape},
                    opset=23)  # fmt: skip
        feeds = [normal(*SHAPE), mask.astype(np.float32)]
    found = run(import_onnx(path), *feeds)[0]
    assert not found[0, 2].any()
    assert_close(found, attention(feeds[0], np.where(mask, 0, -np.inf)), terms=64)


def test_a_rotation_by_constant_angles_is_one_sum(tmp_path: Path) -> None:
    angles = normal(1, ROWS, WIDTH // 2, seed=1)
    operator = node("RotaryEmbedding", "x c s", num_heads=HEADS)
    tables = {"c": np.cos(angles), "s": np.sin(angles)}
    path = save(tmp_path / "m.onnx", [operator], {"x": SHAPE}, tables, opset=23)
    x = normal(*SHAPE)
    low, high = np.split(heads_of(x), 2, axis=-1)
    cosines, sines = tables["c"][:, None], tables["s"][:, None]
    turned = np.concatenate([low * cosines - high * sines, high * cosines + low * sines], -1)
    expected = turned.transpose(0, 2, 1, 3).reshape(SHAPE)
    assert_close(run(import_onnx(path), x)[0], expected, terms=4)


def test_more_heads_of_keys_than_divide_those_of_queries_are_refused(tmp_path: Path) -> None:
    operator = node("Attention", "x y y", q_num_heads=2, kv_num_heads=4)
    inputs = {"x": SHAPE, "y": (1, ROWS, 4 * WIDTH)}
    path = save(tmp_path / "m.onnx", [operator], inputs, opset=23)
    with pytest.raises(ModelError, match="2 heads of queries share 4 of keys"):
        import_onnx(path)
