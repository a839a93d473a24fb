"""Weights of 4 bits that stay packed up to the registers of a dot-product instruction.

A byte holds two codes of two consecutive steps. Shifted or masked, either is 16 times its code as
a signed byte, so nothing is left to extend; the sums are divided by 16 at the end, exactly:

    acc = sum a (w_low << 4) + sum a (w & 0xF0) = 16 sum a q
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import store, vector
from hago.codegen.intrin.dot import Dot
from hago.codegen.tile import Source, cleared, each_block
from hago.codegen.workload import Array

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_BITS = 4
_LARGEST_SUM = 2**31 - 1


def takes_nibbles(dot: Dot, length: int) -> bool:
    """Whether ``dot`` sums ``length`` products with packed weights of 4 bits without overflow."""
    is_plain = dot.rows == 1 and dot.sums == 1 and dot.weight == "int8" and not dot.proof
    fits = 255 * 2 ** (_BITS - 1) * 2**_BITS * length <= _LARGEST_SUM
    return is_plain and fits and length % (2 * dot.depth) == 0


def in_pairs(dot: Dot) -> Dot:
    """``dot`` with the geometry of packed vectors: one stands for two steps."""
    return replace(dot, depth=2 * dot.depth, words=1)


def pack_nibbles(packed: Array) -> Array:
    """Vectors of codes ``[groups, vectors, steps, lanes, depth]`` (-8..7 in int8) two by two:
    ``[groups, vectors, steps / 2, lanes, depth]`` uint8, the even step in the lower half."""
    low, high = (packed[:, :, parity::2].view(np.uint8) for parity in (0, 1))
    return np.ascontiguousarray((low & 0x0F) | (high << _BITS))


def accumulate_nibbles(
    source: Source, dot: Dot, rows: int, columns: int, lanes: int
) -> list[Buffer]:
    """The products of ``rows`` x ``columns`` vectors, each in a register of its own.

    ``source.weight(column, pair)`` is the packed vector of two steps.
    """
    registers = cleared(rows * columns, dot.accum, lanes)

    def block(_: Expr, pair: Expr, __: int) -> None:
        packed = [T.Bind(source.weight(column, pair)) for column in range(columns)]
        start = T.Bind(source.base + pair * (2 * dot.depth))
        for step, unpack in enumerate((_low, _high)):
            codes = [T.Bind(unpack(each)) for each in packed]
            for row in range(rows):
                place = start + row * source.row_pitch + step * dot.depth
                a = T.Bind(vector(source.data, place, dot.depth))
                for column, b in enumerate(codes):
                    register = registers[row * columns + column]
                    store(register, dot.emit(vector(register, 0, lanes), a, b, lanes), 0, lanes)

    each_block(source, source.run // (2 * dot.depth), 1, block)
    for register in registers:
        total = vector(register, 0, lanes)
        store(register, total >> v.splat(_BITS, total, dot.accum), 0, lanes)
    return registers


def _low(packed: Expr) -> Expr:
    return _signed(packed << v.splat(_BITS, packed, "uint8"))


def _high(packed: Expr) -> Expr:
    return _signed(tir.bitwise_and(packed, v.splat(0xF0, packed, "uint8")))


def _signed(codes: Expr) -> Expr:
    return tir.reinterpret(f"int8x{v.dtype_of(codes)[1]}", codes)
