"""A register tile of instructions that sum along the reduction.

    acc[c, i] += sum over d = i mod 4 of a[d] * b[c, d]

A register holds partial sums of one row and one column. Behind the loops the four registers of
four columns are added up to one (ADDP), so that whatever follows sees the same as from any other
instruction.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import store, vector
from hago.codegen.intrin.dot import Dot
from hago.codegen.tile import Source, cleared, each_block

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_LANES = 4


def accumulate_partial(source: Source, dot: Dot, rows: int, columns: int) -> list[Buffer]:
    """The products of ``rows`` x ``columns`` vectors, each in a register of its own."""
    partial = cleared(rows * columns * _LANES, dot.accum, _LANES)
    steps = -(-source.run // dot.depth)

    def block(t: Expr, step: Expr, _: int) -> None:
        start = T.Bind(source.base + source.tap(t) + step * dot.depth)
        addresses = [start + row * source.row_pitch for row in range(rows)]
        held = [T.Bind(vector(source.data, address, dot.depth)) for address in addresses]
        for column in range(columns):
            packed = T.Bind(source.weight(column, t * steps + step))
            for lane in range(_LANES):
                first = lane * dot.depth
                b = T.Bind(tir.Shuffle([packed], list(range(first, first + dot.depth))))
                for row in range(rows):
                    register = partial[(row * columns + column) * _LANES + lane]
                    total = dot.multiply(vector(register, 0, _LANES), held[row], b, _LANES)
                    store(register, total, 0, _LANES)

    each_block(source, steps, 1, block)
    registers = cleared(rows * columns, dot.accum, _LANES)
    for number, register in enumerate(registers):
        four = partial[number * _LANES : (number + 1) * _LANES]
        store(register, _added([vector(sums, 0, _LANES) for sums in four]), 0, _LANES)
    return registers


def _added(sums: list[Expr]) -> Expr:
    """The sums of each of four vectors."""
    low, high = (_pairwise(*sums[i : i + 2]) for i in (0, 2))
    return _pairwise(low, high)


def _pairwise(left: Expr, right: Expr) -> Expr:
    return T.Bind(
        tir.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.addp.v4i32", left, right)
    )
