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
_BLOCK = 64  # bytes that one AVX-512 register shuffles at once


def interleave(rows: Sequence[Expr], depth: int, lanes: int) -> list[Expr]:
    """``rows`` (at most ``depth``, uint8) as uint32 words, in vectors of ``lanes``; bound.

    Rows that are missing are zero. A row has a multiple of ``lanes`` elements, or fewer.
    """
    count = v.dtype_of(rows[0])[1]
    if depth == 4 and lanes == 16 and count == _BLOCK and len(rows) > 1:
        return _unpacked(rows)
    assert count <= lanes, "more than a vector is only interleaved in blocks"
    words = v.cast(rows[0], "uint32")
    for place, row in enumerate(rows[1:], start=1):
        shift = v.splat(place * (32 // depth), words, "uint32")
        words = tir.bitwise_or(words, v.cast(row, "uint32") << shift)
    return [T.Bind(words)]


def block_size(depth: int, lanes: int, rows: int) -> int:
    """How many elements of a row :func:`interleave` takes at once."""
    return _BLOCK if depth == 4 and lanes == 16 and rows > 1 else lanes


def _unpacked(rows: Sequence[Expr]) -> list[Expr]:
    """Four rows of 64 bytes as a 4 x 64 transposition.

    VPERMD first, because the unpacking instructions stay inside of 128 bits: lane ``l`` of each
    register gets dwords l, 4 + l, 8 + l, 12 + l.
    """
    dwords = [4 * column + lane for lane in range(4) for column in range(4)]
    zero = tir.Broadcast(tir.const(0, "uint8"), _BLOCK)
    spread = [_permuted(row, dwords) for row in rows] + [zero] * (4 - len(rows))
    first = [_unpack(spread[0], spread[1], half, 1) for half in range(2)]
    second = [_unpack(spread[2], spread[3], half, 1) for half in range(2)]
    bytes_of_words = [
        _unpack(first[pair], second[pair], half, 2) for pair in range(2) for half in range(2)
    ]
    return [T.Bind(tir.reinterpret("uint32x16", word)) for word in bytes_of_words]


def _permuted(row: Expr, dwords: list[int]) -> Expr:
    shuffled = tir.Shuffle([tir.reinterpret("int32x16", row)], dwords)
    return T.Bind(tir.reinterpret(f"uint8x{_BLOCK}", shuffled))


def _unpack(left: Expr, right: Expr, half: int, size: int) -> Expr:
    """VPUNPCK: the lower or upper ``half`` of each 16 bytes, alternating ``size`` bytes."""
    indices = [
        source * _BLOCK + group * 16 + half * 8 + unit * size + byte
        for group in range(4)
        for unit in range(8 // size)
        for source in range(2)
        for byte in range(size)
    ]
    return T.Bind(tir.Shuffle([left, right], indices))
