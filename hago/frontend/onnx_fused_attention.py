"""Converters for attention as onnxruntime fuses it (domain com.microsoft).

Source: onnxruntime docs/ContribOperators.md. A mask there lowers scores by ``mask_filter_value``
where ONNX's own takes them away.
"""

from __future__ import annotations

import math

import numpy as np
from tvm import relax

from hago.frontend.onnx_attention import (
    Bias,
    attend,
    bias_of,
    from_heads,
    joined,
    rotated,
    rows_at,
    to_heads,
)
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


@converts("Attention", domain=MICROSOFT)
def attention(node: Node) -> tuple[relax.Expr, ...]:
    """The input, weights [in, q + k + v], their bias; a mask, past keys and values, a bias of
    scores. Output 1 holds keys and values, [2, batch, heads, rows, width]."""
    _refuse(node, "do_rotary")
    heads, weight = int(node.number("num_heads", 0)), node.array(1)
    third = weight.shape[1] // 3
    sizes = node.integers("qkv_hidden_sizes", (third, third, third))
    ends = np.cumsum(sizes)
    if len(sizes) != 3 or ends[-1] != weight.shape[1]:
        raise NotConvertible(f"qkv_hidden_sizes {sizes} for {weight.shape[1]} outputs")
    biases = node.array(2) if node.has(2) else np.zeros(weight.shape[1], np.float32)
    query, key, value = (
        to_heads(node, _projected(node, w, b), heads)
        for w, b in zip(np.split(weight, ends[:2], 1), np.split(biases, ends[:2]), strict=True)
    )
    past = 0
    if node.has(4):
        past = node.shape(4)[3]
        before = [node.emit(relax.op.squeeze(node.emit(part), [0])) for part in _halves(node, 4)]
        key, value = joined(node, before[0], key), joined(node, before[1], value)
    bias = _bias(node, node.input(3) if node.has(3) else None,
                 node.input(5) if node.has(5) else None, query, key, past)  # fmt: skip
    found = attend(node, query, key, value, _scale(node, query), bias)
    result = from_heads(node, found.values)
    if node.outputs < 2:
        return (result,)
    both = [node.emit(relax.op.expand_dims(x, 0)) for x in (key, value)]
    return result, node.emit(relax.op.concat(both, axis=0))


def _projected(node: Node, weight: Array, bias: Array) -> relax.Expr:
    product = node.emit(relax.op.matmul(node.input(0), constant(weight)))
    return node.emit(relax.op.add(product, constant(bias)))


def _halves(node: Node, index: int) -> list[relax.Expr]:
    x = node.input(index)
    return [relax.op.strided_slice(x, [0], [i], [i + 1]) for i in (0, 1)]


@converts("MultiHeadAttention", domain=MICROSOFT)
def multi_head_attention(node: Node) -> tuple[relax.Expr, ...]:
    """Queries, keys, values, [batch, rows, channels] or keys and values by heads; a bias of all
    three, a mask of keys, a bias of scores, past keys and values."""
    heads = int(node.number("num_heads", 0))
    if not (node.has(1) and node.has(2)) or len(node.shape(0)) != 3:
        raise NotConvertible("packed queries, keys and values")
    if node.has(8) or node.has(9):
        raise NotConvertible("a shared cache (past_sequence_length, cache_indirection)")
    channels = [static_shape(node.input(i))[-1] for i in range(3)]
    if any(len(node.shape(i)) == 5 for i in (1, 2)):
        raise NotConvertible("packed keys and values")
    biases: list[Array | None] = [None] * 3
    if node.has(3):
        biases = list(np.split(node.array(3), np.cumsum(channels)[:2]))
    query, key, value = (_by_heads(node, i, biases[i], heads) for i in range(3))
    past = 0
    if node.has(6):
        past = node.shape(6)[2]
        key, value = joined(node, node.input(6), key), joined(node, node.input(7), value)
    bias = _bias(node, node.input(4) if node.has(4) else None,
                 node.input(5) if node.has(5) else None, query, key, past)  # fmt: skip
    found = attend(node, query, key, value, _scale(node, query), bias)
    return from_heads(node, found.values), key, value


def _by_heads(node: Node, index: int, bias: Array | None, heads: int) -> relax.Expr:
    x = node.input(index)
    if len(static_shape(x)) == 4:
        if bias is not None:
            raise NotConvertible("a bias of keys and values that come by heads")
        return x
    return to_heads(node, x if bias is None else node.emit(relax.op.add(x, constant(bias))), heads)


def _scale(node: Node, query: relax.Expr) -> float:
    return node.number("scale", 0.0) or 1 / math.sqrt(static_shape(query)[3])


def _bias(
    node: Node,
    mask: relax.Expr | None,
    added: relax.Expr | None,
    query: relax.Expr,
    key: relax.Expr,
    past: int,
) -> Bias:
    """The sum of what ``mask`` (0: does not count) takes off, ``added``, and later rows if the
    attention is ``unidirectional``."""
    rows, keys = static_shape(query)[2], static_shape(key)[2]
    parts = [] if added is None else [added]
    if mask is not None:
        parts.append(_lowered(node, mask, static_shape(query)[0], rows, keys))
    total: relax.Expr | None = None
    for part in parts:
        known = [constant_of(x) for x in (total, part)]
        if total is None:
            total = part
        elif known[0] is not None and known[1] is not None:
            total = constant(known[0] + known[1])
        else:
            total = node.emit(relax.op.add(total, part))
    allowed = None
    if node.number("unidirectional", 0) and rows > 1:
        allowed = np.arange(keys) <= np.arange(rows)[:, None] + past
    if total is None or constant_of(total) is not None:
        return bias_of(node, total, allowed, keys)
    # Every row has a score: a mask only lowers them, and each row sees itself.
    if allowed is not None:
        later = np.where(allowed, np.float32(0), np.float32(-np.inf))
        total = node.emit(relax.op.add(total, constant(later)))
    return Bias(total)


def _lowered(node: Node, mask: relax.Expr, batch: int, rows: int, keys: int) -> relax.Expr:
    """``mask_filter_value`` where an integer mask is 0, broadcasting to [batch, heads, rows, keys].

    A mask is [batch, keys], [batch, rows, keys], or [batch]: how many keys count.
    """
    low, shape = np.float32(node.number("mask_filter_value", -10000.0)), static_shape(mask)
    wide = {
        (batch,): (batch, 1, 1, 1),
        (batch, keys): (batch, 1, 1, keys),
        (batch, rows, keys): (batch, 1, rows, keys),
    }.get(shape)
    if wide is None:
        raise NotConvertible(f"a mask of shape {list(shape)}")
    known = constant_of(mask)
    if known is not None:
        counts = np.arange(keys) < known.reshape(wide) if len(shape) == 1 else known.reshape(wide)
        return constant(np.where(counts, np.float32(0), low).astype(np.float32))
    moved = node.emit(relax.op.reshape(mask, wide))
    kind = str(mask.ty.dtype)
    if len(shape) == 1:
        places = constant(np.arange(keys).astype(kind).reshape(1, 1, 1, keys))
        counts = relax.op.less(places, moved)
    else:
        counts = relax.op.not_equal(moved, constant(np.zeros((), kind)))
    zero = constant(np.float32(0))
    return node.emit(relax.op.where(node.emit(counts), zero, constant(low)))


@converts("RotaryEmbedding", domain=MICROSOFT)
def rotary_embedding(node: Node) -> relax.Expr:
    """The input, position numbers [batch, rows] or the first one [1], cosines and sines."""
    _refuse(node, "is_packed_batching")
    if node.number("scale", 1.0) != 1:
        raise NotConvertible("a scale")
    x, tables = node.input(0), (node.input(2), node.input(3))
    width = int(node.number("rotary_embedding_dim", 0))
    is_flat = len(node.shape(0)) == 3
    if is_flat:
        own = 2 * node.shape(2)[1]
        heads = int(node.number("num_heads", 0)) or node.shape(0)[2] // own
        x = to_heads(node, x, heads)
    batch, _, rows, _ = static_shape(x)
    places = node.input(1)
    if static_shape(places) in ((), (1,)) and (batch, rows) != (1, 1):
        start = node.array(1).reshape(())
        places = constant(np.broadcast_to(start + np.arange(rows), (batch, rows)))
    elif static_shape(places) != (batch, rows):
        places = relax.op.reshape(places, (batch, rows))
    cosines, sines = (rows_at(node, table, places) for table in tables)
    turned = rotated(node, x, cosines, sines, width=width,
                     interleaved=bool(node.number("interleaved", 0)))  # fmt: skip
    return from_heads(node, turned) if is_flat else turned


def _refuse(node: Node, *attributes: str) -> None:
    for name in attributes:
        if node.number(name, 0):
            raise NotConvertible(f"attribute {name}")
