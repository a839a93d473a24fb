"""Weights of 4 bits that stay packed up to the registers of a dot-product instruction.

A byte holds two codes of two consecutive steps. Where an instruction adds products to 32-bit sums,
a nibble, shifted or masked, is 16 times its code as a signed byte, so nothing is left to extend;
the sums are divided by 16 at the end, exactly:

    acc = sum a (w_low << 4) + sum a (w & 0xF0) = 16 sum a q

Where it adds two products in 16 bits, which saturate, nibbles are codes plus 8; eight such pairs
are added up before they join the 32-bit sums, because 8 * 2 * 255 * 8 < 2^15.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import store, vector
from hago.codegen.intrin.dot import Dot, Halves
from hago.codegen.tile import Source, cleared, each_block
from hago.codegen.workload import Array, Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_BITS = 4
_OFFSET = 8  # of nibbles that are codes plus this
_LARGEST_SUM = 2**31 - 1
_JOINED = 4  # packed vectors whose pairs are added up in 16 bits


def takes_nibbles(dot: Dot, length: int) -> bool:
    """Whether ``dot`` sums ``length`` products with packed weights of 4 bits without overflow."""
    is_plain = dot.rows == 1 and dot.sums == 1 and dot.weight == "int8"
    is_exact = dot.halves is not None or not dot.proof
    largest = 255 * 2 ** (_BITS - 1) * (1 if dot.halves else 2**_BITS)
    fits = largest * length <= _LARGEST_SUM
    return is_plain and is_exact and fits and length % (2 * dot.depth) == 0


def in_pairs(dot: Dot) -> Dot:
    """``dot`` with the geometry of packed vectors: one stands for two steps."""
    return replace(dot, name="nibbles", depth=2 * dot.depth, words=_JOINED if dot.halves else 1)


def for_nibbles(machine: Machine, dot: Dot) -> Machine:
    """``machine`` with the registers that are left for tiles: 16-bit sums take as many as them."""
    return replace(machine, registers=machine.registers // 2 + 2) if dot.halves else machine


def pack_nibbles(packed: Array, dot: Dot) -> Array:
    """Vectors of codes ``[groups, vectors, steps, lanes, depth]`` (-8..7 in int8) two by two, as
    ``dot`` reads them: ``[groups, vectors, steps / 2, lanes, depth]`` uint8, the even step in the
    lower half."""
    codes = (packed + _OFFSET if dot.halves else packed).view(np.uint8)
    low, high = (codes[:, :, parity::2] for parity in (0, 1))
    return np.ascontiguousarray((low & 0x0F) | (high << _BITS))


def accumulate_nibbles(
    source: Source, dot: Dot, rows: int, columns: int, lanes: int
) -> list[Buffer]:
    """The products of ``rows`` x ``columns`` vectors, each in a register of its own.

    ``source.weight(column, pair)`` is the packed vector of two steps.
    """
    if dot.halves:
        return _accumulate_halves(source, dot, dot.halves, rows, columns, lanes)
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


def _accumulate_halves(
    source: Source, dot: Dot, halves: Halves, rows: int, columns: int, lanes: int
) -> list[Buffer]:
    """The same, of pairs that are added up in 16 bits before they join their register."""
    registers = cleared(rows * columns, dot.accum, lanes)

    def block(_: Expr, first: Expr, pairs: int) -> None:
        sums: dict[tuple[int, int], Expr] = {}
        for pair in range(pairs):
            start = T.Bind(source.base + (first + pair) * (2 * dot.depth))
            words: dict[tuple[int, int], Expr] = {}
            for row, step in product(range(rows), range(2)):
                place = start + row * source.row_pitch + step * dot.depth
                a = vector(source.data, place, dot.depth)
                words[row, step] = T.Bind(dot.spread(a, lanes))
            for column in range(columns):
                packed = T.Bind(source.weight(column, first + pair))
                for step, unpack in enumerate((_low_code, _high_code)):
                    b = T.Bind(unpack(packed))
                    for row in range(rows):
                        own = halves.multiply(words[row, step], b, lanes)
                        before = sums.get((row, column))
                        sums[row, column] = T.Bind(own if before is None else before + own)
        for (row, column), total in sums.items():
            register = registers[row * columns + column]
            store(register, halves.join(vector(register, 0, lanes), total, lanes), 0, lanes)

    each_block(source, source.run // (2 * dot.depth), _JOINED, block)
    return registers


def _low_code(packed: Expr) -> Expr:
    return _code(tir.bitwise_and(packed, v.splat(0x0F, packed, "uint8")))


def _high_code(packed: Expr) -> Expr:
    return _code(packed >> v.splat(_BITS, packed, "uint8"))


def _code(nibbles: Expr) -> Expr:
    return _signed(nibbles - v.splat(_OFFSET, nibbles, "uint8"))
