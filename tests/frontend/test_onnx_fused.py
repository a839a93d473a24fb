"""Operators that onnxruntime fuses: each by its meaning in numpy, as ContribOperators.md has it.

All of these cases were equal to onnxruntime 1.32 as well.
"""

from __future__ import annotations

from itertools import product
from math import sqrt
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from scipy.special import erf

from hago.dataflow import read_dataflow
from hago.errors import ModelError
from hago.frontend.onnx import import_onnx
from hago.methods.attention import find_attention
from hago.prepare import prepare
from tests.onnx_models import assert_close, normal, run

BATCH, ROWS, HEADS, WIDTH = 2, 5, 4, 8
CHANNELS = HEADS * WIDTH
RANDOM = np.random.default_rng(0)
X, SKIP = normal(BATCH, ROWS, CHANNELS), normal(BATCH, ROWS, CHANNELS, seed=1)
SCALE, OFFSET, BIAS = (normal(CHANNELS, seed=seed) for seed in (2, 3, 4))
Arrays = list[np.ndarray | None]


def fused(
    path: Path, op: str, operands: Arrays, at_run_time: tuple[int, ...], outputs: str = "y",
    domain: str = "com.microsoft", **attributes: object,
) -> list[np.ndarray]:  # fmt: skip
    """What the node gives; operands are constants unless their numbers are ``at_run_time``."""
    save(path, op, operands, at_run_time, outputs, domain, **attributes)
    given = [operands[number] for number in at_run_time]
    return run(import_onnx(path), *(array for array in given if array is not None))


def save(
    path: Path, op: str, operands: Arrays, at_run_time: tuple[int, ...], outputs: str = "y",
    domain: str = "com.microsoft", **attributes: object,
) -> None:  # fmt: skip
    """The one node as a file; "_" is an output that it does not have."""
    names = [f"i{number}" if array is not None else "" for number, array in enumerate(operands)]
    wanted = ["" if name == "_" else name for name in outputs.split()]
    known = zip(names, operands, strict=True)
    arrays = {name: array for name, array in known if array is not None}
    inputs = [names[number] for number in at_run_time]
    graph = helper.make_graph(
        [helper.make_node(op, names, wanted, name="n", domain=domain, **attributes)],
        "g",
        [_info(name, arrays[name]) for name in inputs],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in wanted if n],
        [numpy_helper.from_array(a, name) for name, a in arrays.items() if name not in inputs],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def _info(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
    )


def layer_norm(x: np.ndarray, epsilon: float) -> np.ndarray:
    off = x - x.mean(-1, keepdims=True)
    return off / np.sqrt(np.square(off).mean(-1, keepdims=True) + epsilon) * SCALE


def rms_norm(x: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + epsilon) * SCALE


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_simplified_layer_norms_are_root_mean_square_norms(tmp_path: Path, domain: str) -> None:
    found = fused(tmp_path / "m.onnx", "SimplifiedLayerNormalization", [X, SCALE], (0,),
                  domain=domain, axis=-1, epsilon=1e-3)  # fmt: skip
    assert_close(found[0], rms_norm(X, 1e-3), terms=CHANNELS)


@pytest.mark.parametrize("skip", [SKIP, SKIP[:1], SKIP[0]], ids=["whole", "a sample", "rows"])
@pytest.mark.parametrize("has_offset", [True, False])
def test_skip_layer_norms_give_the_norm_and_the_sum(
    tmp_path: Path, skip: np.ndarray, has_offset: bool
) -> None:
    operands: Arrays = [X, skip, SCALE, OFFSET if has_offset else None, BIAS]
    found = fused(tmp_path / "m.onnx", "SkipLayerNormalization", operands, (0,), "y _ _ s",
                  epsilon=1e-3)  # fmt: skip
    total = X + skip + BIAS
    assert_close(found[0], layer_norm(total, 1e-3) + (OFFSET if has_offset else 0), terms=CHANNELS)
    assert_close(found[1], total, terms=3)


def test_skip_simplified_layer_norms_have_all_their_outputs(tmp_path: Path) -> None:
    found = fused(tmp_path / "m.onnx", "SkipSimplifiedLayerNormalization", [X, SKIP, SCALE, BIAS],
                  (0, 1), "y m i s", epsilon=1e-3)  # fmt: skip
    total = X + SKIP + BIAS
    assert_close(found[0], rms_norm(total, 1e-3), terms=CHANNELS)
    deviation = np.sqrt(np.square(total).mean(-1, keepdims=True) + 1e-3)
    assert_close(found[2], 1 / deviation, terms=CHANNELS)
    assert_close(found[3], total, terms=3)


@pytest.mark.parametrize(("segments", "places"), list(product([True, False], [True, False])))
def test_embeddings_are_summed_and_normed(tmp_path: Path, segments: bool, places: bool) -> None:
    words, kinds = RANDOM.integers(0, 20, (BATCH, ROWS)), RANDOM.integers(0, 2, (BATCH, ROWS))
    where = RANDOM.integers(0, 16, (BATCH, ROWS)).astype(np.int32)
    tables = [normal(count, CHANNELS, seed=count) for count in (20, 16, 2)]
    operands: Arrays = [
        words.astype(np.int32), kinds.astype(np.int32) if segments else None,
        *tables[:2], tables[2] if segments else None, SCALE, OFFSET,
        np.ones((BATCH, ROWS), np.int32), where if places else None,
    ]  # fmt: skip
    total = tables[0][words] + tables[1][where if places else np.arange(ROWS)[None]]
    total = total + tables[2][kinds] if segments else total
    found = fused(tmp_path / "m.onnx", "EmbedLayerNormalization", operands, (0,), "y _ s",
                  epsilon=1e-3)  # fmt: skip
    assert_close(found[0], layer_norm(total, 1e-3) + OFFSET, terms=CHANNELS)
    assert_close(found[1], total, terms=3)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / sqrt(2))) / 2


def gelu_by_tanh(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


@pytest.mark.parametrize(
    ("op", "operands", "expected", "attributes"),
    [
        ("Gelu", [X], gelu(X), {}),
        ("BiasGelu", [X, BIAS], gelu(X + BIAS), {}),
        ("FastGelu", [X], gelu_by_tanh(X), {}),
        ("FastGelu", [X, BIAS], gelu_by_tanh(X + BIAS), {}),
        ("QuickGelu", [X], X / (1 + np.exp(-1.702 * X)), {}),
        ("QuickGelu", [X], X / (1 + np.exp(-X)), {"alpha": 1.0}),
    ],
)
def test_activations(
    tmp_path: Path, op: str, operands: Arrays, expected: np.ndarray, attributes: dict[str, float]
) -> None:
    found = fused(tmp_path / "m.onnx", op, operands, (0,), **attributes)
    assert_close(found[0], expected, terms=16)


@pytest.mark.parametrize(("left", "right", "known"), list(product([0, 1], [0, 1], [True, False])))
def test_fused_products_transpose_and_scale(
    tmp_path: Path, left: int, right: int, known: bool
) -> None:
    a, b = normal(3, 4, 6), normal(6, 7, seed=1)
    operands: Arrays = [a.transpose(0, 2, 1) if left else a, b.T if right else b]
    found = fused(tmp_path / "m.onnx", "FusedMatMul", operands, (0,) if known else (0, 1),
                  transA=left, transB=right, alpha=0.5)  # fmt: skip
    assert_close(found[0], a @ b / 2, terms=6)


@pytest.mark.parametrize("zero", ["middle", "codes", "real"])
@pytest.mark.parametrize(("bits", "length"), list(product([2, 4, 8], [64, 80])))
def test_weights_of_few_bits_are_what_their_codes_say(
    tmp_path: Path, bits: int, length: int, zero: str
) -> None:
    columns, block = 6, 32
    blocks = -(-length // block)
    codes = RANDOM.integers(0, 2**bits, (columns, blocks, block))
    scale = RANDOM.uniform(0.01, 0.1, (columns, blocks)).astype(np.float32)
    points = RANDOM.integers(0, 2**bits, (columns, blocks))
    stored: np.ndarray | None = None
    if zero == "middle":
        points = np.full_like(points, 2 ** (bits - 1))
    elif zero == "codes":
        wide = np.zeros((columns, -(-blocks * bits // 8) * 8 // bits), np.int64)
        wide[:, :blocks] = points
        stored = packed(wide, bits).reshape(-1)
    else:
        stored = points.astype(np.float32)
    weight = ((codes - points[..., None]) * scale[..., None]).reshape(columns, -1)[:, :length]
    x, bias = normal(2, 3, length), normal(columns)
    operands: Arrays = [x, packed(codes, bits), scale.reshape(-1), stored, None, bias]
    found = fused(tmp_path / "m.onnx", "MatMulNBits", operands, (0,),
                  K=length, N=columns, bits=bits, block_size=block)  # fmt: skip
    assert_close(found[0], x @ weight.T.astype(np.float32) + bias, terms=length)


def packed(codes: np.ndarray, bits: int) -> np.ndarray:
    """Bytes along the last axis, the first code in the lowest bits."""
    each = codes.reshape(*codes.shape[:-1], -1, 8 // bits)
    return (each << np.arange(0, 8, bits)).sum(-1).astype(np.uint8)


def by_heads(x: np.ndarray) -> np.ndarray:
    return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)


def attended(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, bias: np.ndarray | float, scale: float
) -> np.ndarray:
    """Of [batch, heads, rows, width] to [batch, rows, channels]."""
    scores = query @ key.transpose(0, 1, 3, 2) * scale + bias
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    values = (shares / shares.sum(-1, keepdims=True)) @ value
    return values.transpose(0, 2, 1, 3).reshape(*query.shape[:1], query.shape[2], -1)


def causal(rows: int, past: int = 0) -> np.ndarray:
    return np.where(np.arange(rows + past) <= np.arange(rows)[:, None] + past, 0, -np.inf)


COUNTS = np.array([5, 3], np.int32)
MASKS = {
    "none": None,
    "keys": (np.arange(ROWS) < COUNTS[:, None]).astype(np.int32),
    "counts": COUNTS,
    "rows": np.maximum(RANDOM.integers(0, 2, (BATCH, ROWS, ROWS)), np.eye(ROWS)).astype(np.int32),
}


def lowered(mask: np.ndarray | None, by: float) -> np.ndarray | float:
    if mask is None:
        return 0.0
    counts = np.arange(ROWS) < mask[:, None] if mask.ndim == 1 else mask
    return np.where(counts.reshape(BATCH, 1, -1, ROWS), 0, by)


@pytest.mark.parametrize("known", [True, False], ids=["constant", "input"])
@pytest.mark.parametrize("one_way", [0, 1])
@pytest.mark.parametrize("mask", MASKS)
def test_attention_with_its_own_products(
    tmp_path: Path, mask: str, one_way: int, known: bool
) -> None:
    weight, bias = normal(CHANNELS, 3 * CHANNELS) / 3, normal(3 * CHANNELS)
    operands: Arrays = [X, weight, bias, MASKS[mask]]
    at_run_time = (0,) if known or mask == "none" else (0, 3)
    found = fused(tmp_path / "m.onnx", "Attention", operands, at_run_time,
                  num_heads=HEADS, unidirectional=one_way, mask_filter_value=-5.0)  # fmt: skip
    parts = [by_heads(part) for part in np.split(X @ weight + bias, 3, -1)]
    added = lowered(MASKS[mask], -5.0) + (causal(ROWS) if one_way else 0)
    assert_close(found[0], attended(*parts, added, 1 / sqrt(WIDTH)), terms=64)


def test_attention_keeps_keys_and_values_and_takes_a_bias_of_scores(tmp_path: Path) -> None:
    weight, bias = normal(CHANNELS, 3 * CHANNELS) / 3, normal(3 * CHANNELS)
    past, added = normal(2, BATCH, HEADS, 3, WIDTH), normal(BATCH, HEADS, ROWS, ROWS + 3)
    found = fused(tmp_path / "m.onnx", "Attention", [X, weight, bias, None, past, added],
                  (0, 4, 5), "y p", num_heads=HEADS, scale=0.2, unidirectional=1)  # fmt: skip
    query, key, value = (by_heads(part) for part in np.split(X @ weight + bias, 3, -1))
    key, value = (np.concatenate([past[i], new], 2) for i, new in enumerate((key, value)))
    assert_close(found[0], attended(query, key, value, added + causal(ROWS, 3), 0.2), terms=64)
    assert_close(found[1], np.stack([key, value]), terms=64)


@pytest.mark.parametrize("form", ["rows", "heads", "past"])
def test_attention_between_given_queries_keys_and_values(tmp_path: Path, form: str) -> None:
    keys = 7
    key, value = normal(BATCH, keys, CHANNELS, seed=5), normal(BATCH, keys, CHANNELS, seed=6)
    operands: Arrays = [X, key, value, None, None, normal(1, HEADS, ROWS, keys), None, None]
    outputs = "y"
    if form == "heads":
        operands[1:3] = by_heads(key), by_heads(value)
    elif form == "past":
        operands[1:3], outputs = (key[:, 3:], value[:, 3:]), "y k v"
        operands[6:8] = by_heads(key)[:, :, :3], by_heads(value)[:, :, :3]
    at_run_time = tuple(number for number, array in enumerate(operands) if array is not None)
    found = fused(tmp_path / "m.onnx", "MultiHeadAttention", operands, at_run_time, outputs,
                  num_heads=HEADS)  # fmt: skip
    added = operands[5]
    assert added is not None
    expected = attended(by_heads(X), by_heads(key), by_heads(value), added, 1 / sqrt(WIDTH))
    assert_close(found[0], expected, terms=64)
    if form == "past":
        assert_close(found[1], by_heads(key), terms=1)
        assert_close(found[2], by_heads(value), terms=1)


@pytest.mark.parametrize("places", ["each", "first", "known"])
@pytest.mark.parametrize(("pairs", "width"), list(product([0, 1], [0, 4])))
def test_rotations(tmp_path: Path, pairs: int, width: int, places: str) -> None:
    wide = width or WIDTH
    angles = normal(16, wide // 2)
    where = RANDOM.integers(0, 16, (BATCH, ROWS))
    if places == "first":
        where = np.broadcast_to(3 + np.arange(ROWS), (BATCH, ROWS))
    given = np.array([3]) if places == "first" else where
    found = fused(tmp_path / "m.onnx", "RotaryEmbedding",
                  [X, given, np.cos(angles), np.sin(angles)],
                  (0, 1) if places == "each" else (0,),
                  num_heads=HEADS, rotary_embedding_dim=width, interleaved=pairs)  # fmt: skip
    heads, turn = by_heads(X), np.exp(1j * angles[where])[:, None]
    low, high = (
        (heads[..., 0:wide:2], heads[..., 1:wide:2])
        if pairs
        else (heads[..., : wide // 2], heads[..., wide // 2 : wide])
    )
    turned = (low + 1j * high) * turn
    both = [turned.real, turned.imag]
    first = np.stack(both, -1).reshape(*low.shape[:-1], wide) if pairs else np.concatenate(both, -1)
    expected = np.concatenate([first, heads[..., wide:]], -1).transpose(0, 2, 1, 3)
    assert_close(found[0], expected.reshape(X.shape).astype(np.float32), terms=4)


def test_a_fused_attention_is_found_as_one(tmp_path: Path) -> None:
    weight, bias = normal(CHANNELS, 3 * CHANNELS), normal(3 * CHANNELS)
    path = tmp_path / "m.onnx"
    save(path, "Attention", [X[:1], weight, bias], (0,), num_heads=HEADS)
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("MatMul", ["y", "o"], ["z"]))
    model.graph.initializer.append(numpy_helper.from_array(normal(CHANNELS, CHANNELS), "o"))
    model.graph.output[0].name = "z"
    onnx.save(model, path)
    assert len(find_attention(read_dataflow(prepare(import_onnx(path))))) == 1


@pytest.mark.parametrize(
    ("op", "operands", "attributes", "fact"),
    [
        ("MatMulNBits", [X, np.zeros((1, 1, 16), np.uint8), np.ones(1, np.float32), None,
                         np.zeros(CHANNELS, np.int32)],
         {"K": CHANNELS, "N": 1, "block_size": 32}, "blocks in another order"),
        ("FusedMatMul", [X, normal(CHANNELS, 3)], {"transBatchA": 1}, "transposed batches"),
        ("Attention", [X, normal(CHANNELS, 3 * CHANNELS), None, np.ones((7, 7), np.int32)],
         {"num_heads": HEADS}, r"a mask of shape \[7, 7\]"),
        ("MultiHeadAttention", [normal(1, 2, HEADS, 3, WIDTH)], {"num_heads": HEADS}, "packed"),
        ("RotaryEmbedding", [X, np.array([0]), *[normal(16, WIDTH // 2)] * 2], {"scale": 2.0},
         "a scale"),
    ],
)  # fmt: skip
def test_what_is_not_imported_is_refused(
    tmp_path: Path, op: str, operands: Arrays, attributes: dict[str, object], fact: str
) -> None:
    save(tmp_path / "m.onnx", op, operands, (0,), **attributes)
    with pytest.raises(ModelError, match=fact):
        import_onnx(tmp_path / "m.onnx")
