"""Converters for norms, activations and products that onnxruntime fuses (domain com.microsoft).

Source: onnxruntime docs/ContribOperators.md.
"""

from __future__ import annotations

import numpy as np
from tvm import relax

from hago.frontend.onnx_elementwise import gated
from hago.frontend.onnx_node import (
    MICROSOFT,
    Array,
    Node,
    NotConvertible,
    constant,
    constant_of,
    converts,
    static_shape,
)
from hago.frontend.onnx_standard import rms_norm


@converts("SimplifiedLayerNormalization")  # onnxruntime registers it among the standard ones
@converts("SimplifiedLayerNormalization", domain=MICROSOFT)
def simplified_layer_norm(node: Node) -> relax.Expr:
    """The root mean square norm of the axes from ``axis`` on: the input, its scale."""
    rank = len(node.shape(0))
    axes = list(range(int(node.number("axis", -1)) % rank, rank))
    return rms_norm(node.input(0), node.input(1), axes, node.number("epsilon", 1e-5))


@converts("SkipLayerNormalization", domain=MICROSOFT)
def skip_layer_norm(node: Node) -> tuple[relax.Expr, ...]:
    """The input, what is added to it; scale, offset and bias. Output 3 is the sum."""
    total = _sum(node, *(node.input(i) for i in (0, 1, 4) if node.has(i)))
    return _normed(node, total, node.input(2), node.input(3) if node.has(3) else None)


@converts("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_simplified_layer_norm(node: Node) -> tuple[relax.Expr, ...]:
    """The input, what is added to it; scale and bias. Output 3 is the sum."""
    total = _sum(node, *(node.input(i) for i in (0, 1, 3) if node.has(i)))
    last = [len(static_shape(total)) - 1]
    normed = node.emit(rms_norm(total, node.input(2), last, node.number("epsilon", 1e-12)))
    return _with_sum(node, normed, total)


@converts("EmbedLayerNormalization", domain=MICROSOFT)
def embed_layer_norm(node: Node) -> tuple[relax.Expr, ...]:
    """Word and segment numbers; tables of words, positions and segments; scale, offset; a mask,
    position numbers. Outputs are the norm, how much the mask counts, and the sum."""
    rows = node.shape(0)[1]
    places = node.input(8) if node.has(8) else constant(np.arange(rows, dtype=np.int64)[None])
    parts = [_looked_up(node, node.input(2), node.input(0)),
             _looked_up(node, node.input(3), places)]  # fmt: skip
    if node.has(4) and node.has(1):
        parts.append(_looked_up(node, node.input(4), node.input(1)))
    total = _sum(node, *parts)
    normed = _normed(node, total, node.input(5), node.input(6))[0]
    if node.has(7):
        counted = node.emit(relax.op.sum(node.input(7), [1]))
    else:
        counted = constant(np.zeros(node.shape(0)[0], np.int32))
    return normed, counted, total


def _looked_up(node: Node, table: relax.Expr, places: relax.Expr) -> relax.Expr:
    return node.emit(relax.op.take(table, places, axis=0, mode="clip"))


def _sum(node: Node, *parts: relax.Expr) -> relax.Expr:
    total, *rest = parts
    for part in rest:
        total = node.emit(relax.op.add(total, part))
    return total


def _normed(
    node: Node, total: relax.Expr, scale: relax.Expr, offset: relax.Expr | None
) -> tuple[relax.Expr, ...]:
    if offset is None:
        offset = constant(np.zeros(static_shape(scale), np.float32))
    epsilon = node.number("epsilon", 1e-12)
    normed = node.emit(relax.op.nn.layer_norm(total, scale, offset, [-1], epsilon))
    return _with_sum(node, normed, total)


def _with_sum(node: Node, normed: relax.Expr, total: relax.Expr) -> tuple[relax.Expr, ...]:
    """The outputs 0 to 3, the mean and the inverse deviation between them as for training."""
    if node.op.startswith("Skip") and node.outputs > 3:
        mean = node.emit(relax.op.mean(total, [-1], keepdims=True))
        return normed, mean, _inverse_deviation(node, total, mean), total
    return (normed,)


def _inverse_deviation(node: Node, total: relax.Expr, mean: relax.Expr) -> relax.Expr:
    off = total if "Simplified" in node.op else node.emit(relax.op.subtract(total, mean))
    squares = node.emit(relax.op.multiply(off, off))
    variance = node.emit(relax.op.mean(squares, [-1], keepdims=True))
    epsilon = constant(np.float32(node.number("epsilon", 1e-12)))
    return node.emit(relax.op.rsqrt(node.emit(relax.op.add(variance, epsilon))))


@converts("QuickGelu", domain=MICROSOFT)
def quick_gelu(node: Node) -> relax.Expr:
    """``x sigmoid(alpha x)``."""
    return gated(node, node.input(0), node.number("alpha", 1.702))


@converts("BiasGelu", domain=MICROSOFT)
def bias_gelu(node: Node) -> relax.Expr:
    """The input and its bias."""
    return relax.op.nn.gelu(node.emit(relax.op.add(node.input(0), node.input(1))))


@converts("FastGelu", domain=MICROSOFT)
def fast_gelu(node: Node) -> relax.Expr:
    """The input and perhaps a bias; GELU by tanh."""
    return relax.op.nn.gelu_tanh(_sum(node, *(node.input(i) for i in (0, 1) if node.has(i))))


@converts("FusedMatMul", domain=MICROSOFT)
def fused_matmul(node: Node) -> relax.Expr:
    """``alpha a b``, the last two axes of either perhaps transposed."""
    if node.number("transBatchA", 0) or node.number("transBatchB", 0):
        raise NotConvertible("transposed batches (transBatchA, transBatchB)")
    a, b = (_turned(node, i, bool(node.number(f"trans{'AB'[i]}", 0))) for i in (0, 1))
    product, alpha = node.emit(relax.op.matmul(a, b)), node.number("alpha", 1.0)
    return product if alpha == 1 else relax.op.multiply(product, constant(np.float32(alpha)))


def _turned(node: Node, index: int, is_transposed: bool) -> relax.Expr:
    """An operand with its last two axes swapped; one of a single axis stays, as onnxruntime
    has it."""
    x, rank = node.input(index), len(node.shape(index))
    if not is_transposed or rank < 2:
        return x
    known, axes = constant_of(x), [*range(rank - 2), rank - 1, rank - 2]
    if known is not None:
        return constant(known.transpose(axes))
    return node.emit(relax.op.permute_dims(x, axes))


@converts("MatMulNBits", domain=MICROSOFT)
def matmul_n_bits(node: Node) -> relax.Expr:
    """``a`` by weights of few bits in blocks, whose codes, scales and zero points are constants.

    The codes become float32: what precision they run in is hago's to choose.
    """
    if node.has(4):
        raise NotConvertible("blocks in another order (input g_idx)")
    bits, block = int(node.number("bits", 4)), int(node.number("block_size", 0))
    columns, length = int(node.number("N", 0)), int(node.number("K", 0))
    if bits not in (2, 4, 8) or block < 1:
        raise NotConvertible(f"weights of {bits} bits in blocks of {block}")
    blocks = -(-length // block)
    codes = _unpacked(node.array(1).reshape(columns, blocks, -1), bits)[..., :block]
    scale = node.array(2).reshape(columns, blocks, 1).astype(np.float32)
    weight = (codes - _zero_points(node, columns, blocks, bits)) * scale
    rows = weight.reshape(columns, -1)[:, :length]
    product = node.emit(relax.op.matmul(node.input(0), constant(rows.T)))
    return relax.op.add(product, node.input(5)) if node.has(5) else product


def _zero_points(node: Node, columns: int, blocks: int, bits: int) -> Array:
    """float32, broadcasting to [columns, blocks, 1]; the middle code where none are given."""
    if not node.has(3):
        return np.full((1, 1, 1), 2 ** (bits - 1), np.float32)
    given = node.array(3)
    if given.dtype == np.uint8:
        given = _unpacked(given.reshape(columns, -1), bits)[:, :blocks]
    return given.reshape(columns, blocks, 1).astype(np.float32)


def _unpacked(packed: Array, bits: int) -> Array:
    """float32 codes of bytes along the last axis, the lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (packed[..., None] >> shifts) & np.uint8(2**bits - 1)
    return codes.reshape(*packed.shape[:-1], -1).astype(np.float32)
