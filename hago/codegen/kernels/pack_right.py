"""The right-hand side of a product of activations as an instruction reads it.

    packed[batch, vector of columns, step, lane, depth] = right[batch, step * depth + .., column]

Where neighbours in memory are columns, rows are interleaved; where they are rows (keys of an
attention), 32-bit words are transposed.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import divided, store, vector
from hago.codegen.intrin.dot import Dot
from hago.codegen.kernels.transpose import transposed
from hago.codegen.tile import pieces
from hago.codegen.workload import BatchMatmul, Strides

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_WORD = 4  # bytes
_LEAST_WORDS = 4  # of a row, that are transposed at once


def packs(workload: BatchMatmul, dot: Dot, lanes: int) -> bool:
    """Whether :func:`pack_right` can: neighbours are columns, or rows that give whole words."""
    right = workload.right
    if right is None or right.column == 1:
        return True
    is_word = dot.depth * np.dtype(dot.weight).itemsize == _WORD
    as_it_is = v.storage(workload.weight) == dot.weight
    return right.row == 1 and is_word and as_it_is and _words_at_once(workload, dot, lanes) > 0


def _words_at_once(workload: BatchMatmul, dot: Dot, lanes: int) -> int:
    """Words of a row that are transposed together; 0 where rows end inside of them."""
    words = math.gcd(workload.k // dot.depth, lanes)
    return words if workload.k % dot.depth == 0 and words >= _LEAST_WORDS else 0


def pack_right(workload: BatchMatmul, dot: Dot, lanes: int, right: Buffer) -> Buffer:
    """Flat ``right`` as ``[batch, vectors, steps, lanes, depth]`` in scratch memory."""
    steps, vectors = -(-workload.k // dot.depth), -(-workload.n // lanes)
    size = lanes * dot.depth
    strides = workload.right or Strides.packed(workload.k, workload.n)
    packed = T.alloc_buffer((workload.batch * vectors * steps * size,), dot.weight)
    with T.parallel(0, workload.batch * vectors) as index:
        batch, column = divided(index, vectors)
        start, target = T.Bind(strides.start(batch)), T.Bind(index * (steps * size))
        if strides.column == 1:
            with T.serial(0, steps) as step:
                first = T.Bind(start + step * (dot.depth * strides.row) + column * lanes)
                pack_step(workload, dot, lanes, right, packed, step, first,
                          T.Bind(target + step * size), column)  # fmt: skip
        else:
            _pack_rows(workload, dot, lanes, right, packed, start, target, column, strides.column)
    return packed


def _pack_rows(
    workload: BatchMatmul,
    dot: Dot,
    lanes: int,
    right: Buffer,
    packed: Buffer,
    start: Expr,
    target: Expr,
    column: Expr,
    pitch: int,
) -> None:
    """All steps of a vector of columns, which are ``pitch`` apart in memory; behind the last column
    it is repeated."""
    words = _words_at_once(workload, dot, lanes)
    taken = words * dot.depth
    with T.serial(0, workload.k // taken) as block:
        first = T.Bind(start + block * taken)
        rows = []
        for lane in range(lanes):
            row = tir.min(column * lanes + lane, workload.n - 1)
            loaded = vector(right, first + row * pitch, taken)
            rows.append(T.Bind(tir.reinterpret(f"int32x{words}", loaded)))
        joined = [_joined(rows[word::words]) for word in range(words)]
        for step, values in enumerate(transposed(joined)):
            value = tir.reinterpret(f"{dot.weight}x{lanes * dot.depth}", values)
            place = target + (block * words + step) * (lanes * dot.depth)
            store(packed, value, place, lanes * dot.depth)


def _joined(vectors: list[Expr]) -> Expr:
    """One vector of all lanes."""
    lanes = sum(v.dtype_of(each)[1] for each in vectors)
    return vectors[0] if len(vectors) == 1 else T.Bind(tir.Shuffle(vectors, list(range(lanes))))


def pack_step(
    workload: BatchMatmul,
    dot: Dot,
    lanes: int,
    right: Buffer,
    packed: Buffer,
    step: Expr,
    start: Expr,
    target: Expr,
    column: Expr,
) -> None:
    """One packed vector: ``depth`` rows of ``lanes`` elements, interleaved."""
    rest = workload.n % lanes

    def whole(count: int, offset: int) -> None:
        words = _interleaved(workload, dot, right, step, start + offset, count)
        store(packed, words, target + offset * dot.depth, count * dot.depth)

    if rest == 0:
        whole(lanes, 0)
        return
    with T.If(column < workload.n // lanes):
        with T.Then():
            whole(lanes, 0)
        with T.Else():
            zero = tir.Broadcast(tir.const(0, dot.weight), lanes * dot.depth)
            store(packed, zero, target, lanes * dot.depth)
            for offset, count in pieces(rest):
                whole(count, offset)


def _interleaved(
    workload: BatchMatmul, dot: Dot, right: Buffer, step: Expr, start: Expr, count: int
) -> Expr:
    """``count * depth`` elements: the ``depth`` rows from ``start``, element by element."""
    if dot.depth == 1:
        return vector(right, start, count)
    in_word = 4 // np.dtype(dot.weight).itemsize
    firsts = range(0, dot.depth, in_word)
    words = [_words(workload, dot, right, step, start, first, count) for first in firsts]
    joined = words[0]
    if len(words) > 1:
        order = [number * count + lane for lane in range(count) for number in range(len(words))]
        joined = tir.Shuffle([T.Bind(word) for word in words], order)
    return tir.reinterpret(f"{dot.weight}x{count * dot.depth}", joined)


def _words(
    workload: BatchMatmul,
    dot: Dot,
    right: Buffer,
    step: Expr,
    start: Expr,
    first: int,
    count: int,
) -> Expr:
    """32-bit words of ``count`` columns, of the rows from ``first`` of those from ``start``."""
    bits = 8 * np.dtype(dot.weight).itemsize
    total: Expr | None = None
    pitch = workload.n if workload.right is None else workload.right.row
    for place in range(32 // bits):
        row = first + place
        element = v.cast(vector(right, start + row * pitch, count), "int32")
        if workload.k % dot.depth:
            inside = step * dot.depth + row < workload.k
            zero = v.splat(0, element, "int32")
            element = tir.if_then_else(inside, element, zero)
        mask = v.splat((1 << bits) - 1, element, "int32")
        word = tir.bitwise_and(element, mask) << v.splat(place * bits, element, "int32")
        total = word if total is None else tir.bitwise_or(total, word)
    assert total is not None
    return total
