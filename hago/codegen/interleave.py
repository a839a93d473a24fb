"""Rows of small integers, interleaved into the 32-bit words that dot instructions read.

    word[l] = row_0[l] | row_1[l] << bits | row_2[l] << 2 bits | ..        bits = 32 / depth
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v

Expr: TypeAlias = tir.Expr
# Bytes that one register shuffles at once, by its lanes: VPUNPCK of AVX-512, ZIP of Advanced SIMD.
_BLOCKS = {16: 64, 4: 16}


def interleave(rows: Sequence[Expr], depth: int, lanes: int) -> list[Expr]:
    """``rows`` (at most ``depth``, uint8) as uint32 words, in vectors of ``lanes``; bound.

    Rows that are missing are zero. A row has a multiple of ``lanes`` elements, or fewer.
    """
    count = v.dtype_of(rows[0])[1]
    if depth == 4 and count == _BLOCKS.get(lanes) and len(rows) > 1:
        return _unpacked(rows, lanes)
    assert count <= lanes, "more than a vector is only interleaved in blocks"
    words = v.cast(rows[0], "uint32")
    for place, row in enumerate(rows[1:], start=1):
        shift = v.splat(place * (32 // depth), words, "uint32")
        words = tir.bitwise_or(words, v.cast(row, "uint32") << shift)
    return [T.Bind(words)]


def block_size(depth: int, lanes: int, rows: int) -> int:
    """How many elements of a row :func:`interleave` takes at once."""
    return _BLOCKS[lanes] if depth == 4 and lanes in _BLOCKS and rows > 1 else lanes


def _unpacked(rows: Sequence[Expr], lanes: int) -> list[Expr]:
    """Four rows of ``4 * lanes`` bytes as a transposition to words.

    Registers of 512 bits are permuted first (VPERMD), because the unpacking instructions stay
    inside of 128 bits: lane ``l`` of each register gets dwords l, 4 + l, 8 + l, 12 + l.
    """
    groups = lanes // 4
    dwords = [4 * column + lane for lane in range(4) for column in range(groups)]
    zero = tir.Broadcast(tir.const(0, "uint8"), 4 * lanes)
    spread = [row if groups == 1 else _permuted(row, dwords) for row in rows]
    spread += [zero] * (4 - len(rows))
    first = [_unpack(spread[0], spread[1], half, 1) for half in range(2)]
    second = [_unpack(spread[2], spread[3], half, 1) for half in range(2)]
    bytes_of_words = [
        _unpack(first[pair], second[pair], half, 2) for pair in range(2) for half in range(2)
    ]
    return [T.Bind(tir.reinterpret(f"uint32x{lanes}", word)) for word in bytes_of_words]


def _permuted(row: Expr, dwords: list[int]) -> Expr:
    count = len(dwords)
    shuffled = tir.Shuffle([tir.reinterpret(f"int32x{count}", row)], dwords)
    return T.Bind(tir.reinterpret(f"uint8x{4 * count}", shuffled))


def _unpack(left: Expr, right: Expr, half: int, size: int) -> Expr:
    """VPUNPCK or ZIP: the lower or upper ``half`` of each 16 bytes, alternating ``size`` bytes."""
    length = v.dtype_of(left)[1]
    indices = [
        source * length + group * 16 + half * 8 + unit * size + byte
        for group in range(length // 16)
        for unit in range(8 // size)
        for source in range(2)
        for byte in range(size)
    ]
    return T.Bind(tir.Shuffle([left, right], indices))
