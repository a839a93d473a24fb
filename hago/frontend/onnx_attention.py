"""Converters for attention and what belongs to it, as the operators of exporters mean them.

Sources: the operators Attention (opsets 23 to 25) and RotaryEmbedding (23) of ONNX. Those of
onnxruntime, in onnx_fused.py, are written with the same functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from tvm import relax

from hago.frontend.onnx_node import (
    Array,
    Node,
    NotConvertible,
    constant,
    constant_of,
    converts,
    dtype_of,
    static_shape,
)

_LOWEST = float(np.finfo(np.float32).min)


def to_heads(node: Node, x: relax.Expr, heads: int) -> relax.Expr:
    """[batch, rows, heads x width] as [batch, heads, rows, width]."""
    batch, rows, channels = static_shape(x)
    if heads < 1 or channels % heads:
        raise NotConvertible(f"{channels} channels in {heads} heads")
    split = relax.op.reshape(x, (batch, rows, heads, channels // heads))
    return node.emit(relax.op.permute_dims(node.emit(split), [0, 2, 1, 3]))


def from_heads(node: Node, x: relax.Expr) -> relax.Expr:
    """[batch, heads, rows, width] as [batch, rows, heads x width]."""
    batch, heads, rows, width = static_shape(x)
    moved = node.emit(relax.op.permute_dims(x, [0, 2, 1, 3]))
    return node.emit(relax.op.reshape(moved, (batch, rows, heads * width)))


def in_groups(node: Node, x: relax.Expr, heads: int) -> relax.Expr:
    """Each head of [batch, heads, rows, width] as often as makes ``heads`` of them."""
    batch, own, rows, width = static_shape(x)
    if own == heads:
        return x
    if heads % own:
        raise NotConvertible(f"{heads} heads of queries share {own} of keys")
    apart = node.emit(relax.op.reshape(x, (batch, own, 1, rows, width)))
    spread = relax.op.broadcast_to(apart, (batch, own, heads // own, rows, width))
    return node.emit(relax.op.reshape(node.emit(spread), (batch, heads, rows, width)))


@dataclass(frozen=True, eq=False)
class Bias:
    """What is added to the scores, and 1 or 0 for each row: whether it has a score at all.

    Both broadcast to [batch, heads, rows, keys], the latter with one key; None is 0 and 1.
    """

    added: relax.Expr | None = None
    counts: relax.Expr | None = None


def bias_of(
    node: Node, mask: relax.Expr | None, allowed: Array | None, keys: int
) -> Bias:
    """``mask`` (bool: what counts; float: what is added) where ``allowed`` is true.

    ``mask`` may have fewer than ``keys`` keys, those after it do not count. A row without any key
    gives zeros. Minus infinity becomes the lowest number, so that such a row stays finite.
    """
    if mask is None and allowed is None:
        return Bias()
    known = np.zeros((1, 1), np.float32) if mask is None else constant_of(mask)
    if known is not None:
        whole = _padded(known, keys)
        added = whole if allowed is None else np.where(allowed, whole, -np.inf)
        counts = added.max(axis=-1, keepdims=True) > -np.inf
        bias = constant(np.where(counts, added, 0).astype(np.float32))
        return Bias(bias, None if counts.all() else constant(counts.astype(np.float32)))
    assert mask is not None
    if dtype_of(mask) == "bool":
        zero, lost = constant(np.float32(0)), constant(np.float32(-np.inf))
        mask = node.emit(relax.op.where(mask, zero, lost))
    shape = static_shape(mask)
    if shape[-1] < keys:
        widths = [0] * (2 * len(shape) - 1) + [keys - shape[-1]]
        mask = node.emit(relax.op.nn.pad(mask, widths, "constant", -math.inf))
    if allowed is not None:
        mask = node.emit(relax.op.add(mask, constant(_as_bias(allowed))))
    lowest = constant(np.float32(_LOWEST))
    # The maximum itself does not tell: TVM's of nothing but minus infinity is the lowest number.
    finite = node.emit(relax.op.astype(relax.op.greater_equal(mask, lowest), "float32"))
    counts = node.emit(relax.op.max(finite, [-1], keepdims=True))
    return Bias(node.emit(relax.op.maximum(mask, lowest)), counts)


def _as_bias(allowed: Array) -> Array:
    return np.where(allowed, 0, -np.inf).astype(np.float32)


def _padded(mask: Array, keys: int) -> Array:
    """A constant mask in float32, minus infinity where it does not reach."""
    bias = _as_bias(mask) if mask.dtype == np.bool_ else mask.astype(np.float32)
    if bias.shape[-1] in (1, keys):
        return bias
    widths = [(0, 0)] * (bias.ndim - 1) + [(0, keys - bias.shape[-1])]
    return np.pad(bias, widths, constant_values=-np.inf)


@dataclass(frozen=True, eq=False)
class Attended:
    """The steps of an attention: each but the last is [batch, heads, rows, keys]."""

    products: relax.Expr
    capped: relax.Expr
    biased: relax.Expr
    shares: relax.Expr
    values: relax.Expr


def attend(
    node: Node,
    query: relax.Expr,
    key: relax.Expr,
    value: relax.Expr,
    scale: float,
    bias: Bias,
    softcap: float = 0.0,
) -> Attended:
    """``softmax(scale q k^T + bias) v``, all [batch, heads, rows, width]; keys and values may have
    fewer heads than queries."""
    heads = static_shape(query)[1]
    key, value = in_groups(node, key, heads), in_groups(node, value, heads)
    across = node.emit(relax.op.permute_dims(key, [0, 1, 3, 2]))
    products = node.emit(relax.op.matmul(query, across))
    products = node.emit(relax.op.multiply(products, constant(np.float32(scale))))
    capped = products
    if softcap:
        cap = constant(np.float32(softcap))
        bounded = relax.op.tanh(node.emit(relax.op.divide(products, cap)))
        capped = node.emit(relax.op.multiply(node.emit(bounded), cap))
    biased = capped if bias.added is None else node.emit(relax.op.add(capped, bias.added))
    shares = node.emit(relax.op.nn.softmax(biased, axis=-1))
    values = node.emit(relax.op.matmul(shares, value))
    if bias.counts is not None:
        shares, values = (node.emit(relax.op.multiply(x, bias.counts)) for x in (shares, values))
    return Attended(products, capped, biased, shares, values)


def joined(node: Node, past: relax.Expr | None, new: relax.Expr) -> relax.Expr:
    """The rows of ``past`` before those of ``new``, [batch, heads, rows, width]."""
    return new if past is None else node.emit(relax.op.concat([past, new], axis=2))


@converts("Attention")
def attention(node: Node) -> tuple[relax.Expr, ...]:
    """Queries, keys, values; a mask, past keys, past values, how many keys are no padding."""
    is_flat = len(node.shape(0)) == 3
    query, key, value = (node.input(i) for i in range(3))
    if is_flat:
        heads, shared = (int(node.number(f"{which}_num_heads", 0)) for which in ("q", "kv"))
        query = to_heads(node, query, heads)
        key, value = to_heads(node, key, shared), to_heads(node, value, shared)
    past = static_shape(node.input(4))[2] if node.has(4) else 0
    if past:
        key, value = joined(node, node.input(4), key), joined(node, node.input(5), value)
    rows, width = static_shape(query)[2:]
    keys = static_shape(key)[2]
    mask = node.input(3) if node.has(3) else None
    bias = bias_of(node, mask, _allowed(node, rows, keys, past), keys)
    scale = node.number("scale", 1 / math.sqrt(width))
    found = attend(node, query, key, value, scale, bias, node.number("softcap", 0.0))
    steps = (found.products, found.capped, found.biased, found.shares)
    shown = steps[int(node.number("qk_matmul_output_mode", 0))]
    if node.outputs > 3 and shown is found.biased and bias.counts is not None:
        raise NotConvertible("output 3 with a bias that is known when it runs")
    return from_heads(node, found.values) if is_flat else found.values, key, value, shown


def _allowed(node: Node, rows: int, keys: int, past: int) -> Array | None:
    """What the attributes let each row see, broadcasting to [batch, heads, rows, keys]; None for
    everything."""
    places, offset = np.arange(keys), np.array([past])
    allowed = np.ones((1, 1, rows, keys), np.bool_)
    if node.has(6):
        filled = node.array(6).reshape(-1)
        allowed = allowed & (places < filled[:, None, None, None])
        offset = filled - rows
    row = offset[:, None, None, None] + np.arange(rows)[:, None]
    left, right = (int(node.number(f"{side}_window_size", -1)) for side in ("left", "right"))
    if node.number("is_causal", 0):
        allowed = allowed & (places <= row)
    if left >= 0:
        allowed = allowed & (places >= row - left)
    if right >= 0:
        allowed = allowed & (places <= row + right)
    return None if allowed.all() else allowed


@converts("RotaryEmbedding")
def rotary_embedding(node: Node) -> relax.Expr:
    """The input, cosines and sines, and the rows of these to take for each position."""
    x = node.input(0)
    is_flat = len(node.shape(0)) == 3
    if is_flat:
        x = to_heads(node, x, int(node.number("num_heads", 0)))
    angles = [node.input(1), node.input(2)]
    if node.has(3):
        angles = [rows_at(node, table, node.input(3)) for table in angles]
    turned = rotated(
        node, x, angles[0], angles[1],
        interleaved=bool(node.number("interleaved", 0)),
        width=int(node.number("rotary_embedding_dim", 0)),
    )  # fmt: skip
    return from_heads(node, turned) if is_flat else turned


def rows_at(node: Node, table: relax.Expr, places: relax.Expr) -> relax.Expr:
    """The rows of a table [n, width] at ``places`` [batch, rows]; a constant if both are."""
    rows, where = constant_of(table), constant_of(places)
    if rows is not None and where is not None:
        return constant(rows[where])
    return node.emit(relax.op.take(table, places, axis=0, mode="clip"))


def rotated(
    node: Node,
    x: relax.Expr,
    cosines: relax.Expr,
    sines: relax.Expr,
    *,
    interleaved: bool,
    width: int = 0,
) -> relax.Expr:
    """``x cos + turned(x) sin`` for [batch, heads, rows, channels], the first ``width`` channels of
    each head, 0 for all; cosines and sines are [batch, rows, width / 2].

    Pairs are a channel and the one half the width later, or neighbours if ``interleaved``;
    ``turned`` swaps them. J. Su et al., RoFormer, arXiv 2104.09864, equation 34.
    """
    channels = static_shape(x)[3]
    width = width or channels
    if width % 2 or width > channels:
        raise NotConvertible(f"a rotation of {width} of {channels} channels")
    inner = np.arange(width)
    if interleaved:
        order, half = inner ^ 1, inner // 2
        sign = np.where(inner % 2, 1, -1)
    else:
        order, half = np.roll(inner, width // 2), inner % (width // 2)
        sign = np.where(inner < width // 2, -1, 1)
    turning = x if width == channels else _channels(node, x, 0, width)
    if interleaved:
        swapped = node.emit(relax.op.take(turning, constant(order), axis=3, mode="clip"))
    else:
        middle = width // 2
        low, high = _channels(node, turning, 0, middle), _channels(node, turning, middle, width)
        swapped = node.emit(relax.op.concat([high, low], axis=3))
    along = node.emit(relax.op.multiply(turning, _spread(node, cosines, half, np.ones(width))))
    turned = node.emit(relax.op.multiply(swapped, _spread(node, sines, half, sign)))
    result = node.emit(relax.op.add(along, turned))
    if width == channels:
        return result
    return node.emit(relax.op.concat([result, _channels(node, x, width, channels)], axis=3))


def _channels(node: Node, x: relax.Expr, first: int, last: int) -> relax.Expr:
    return node.emit(relax.op.strided_slice(x, [3], [first], [last]))


def _spread(node: Node, angles: relax.Expr, half: Array, sign: Array) -> relax.Expr:
    """[batch, rows, width / 2] for each channel, times its sign: [batch, 1, rows, width]."""
    known = constant_of(angles)
    if known is not None:
        return constant((known[:, None, :, half] * sign).astype(np.float32))
    wide = node.emit(relax.op.take(angles, constant(half), axis=2, mode="clip"))
    signed = node.emit(relax.op.multiply(wide, constant(sign.astype(np.float32))))
    batch, rows, width = static_shape(signed)
    return node.emit(relax.op.reshape(signed, (batch, 1, rows, width)))
