"""A register tile of instructions that multiply two rows by two columns.

    acc[2 i + j] += sum_d a[i, d] * b[j, d]        i, j < 2

Two registers hold two rows of four columns: columns 0 and 1, columns 2 and 3. They become rows
behind the loops, so that whatever follows sees the same as from any other instruction.
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


def accumulate_pairs(source: Source, dot: Dot, rows: int, columns: int) -> list[Buffer]:
    """The products of ``rows`` x ``columns`` vectors, each in a register of its own.

    The last of an odd number of rows is paired with itself. Where ``dot.words`` is 2, two steps of
    each row are loaded at once, and ZIP makes pairs of them.
    """
    pairs = -(-rows // 2)
    read = [min(row, rows - 1) for row in range(2 * pairs)]
    squares = cleared(pairs * columns * 2, dot.accum, _LANES)
    steps = -(-source.run // dot.depth)

    def block(t: Expr, first: Expr, words: int) -> None:
        start = T.Bind(source.base + source.tap(t) + first * dot.depth)
        size = dot.depth * words
        loaded = [T.Bind(vector(source.data, start + r * source.row_pitch, size)) for r in read]
        for word in range(words):
            step = t * steps + first + word
            halves = [
                half
                for column in range(columns)
                for half in _halves(T.Bind(source.weight(column, step)), dot.depth)
            ]
            place = word * dot.depth
            order = [row * size + place + i for row in range(2) for i in range(dot.depth)]
            for pair in range(pairs):
                a = T.Bind(tir.Shuffle(loaded[2 * pair : 2 * pair + 2], order))
                for number, b in enumerate(halves):
                    square = squares[pair * len(halves) + number]
                    total = dot.multiply(vector(square, 0, _LANES), a, b, _LANES)
                    store(square, total, 0, _LANES)

    each_block(source, steps, dot.words, block)
    return _as_rows(squares, dot, rows, columns)


def _halves(columns: Expr, depth: int) -> list[Expr]:
    """Columns 0 and 1, columns 2 and 3 of a packed vector."""
    size = 2 * depth
    return [T.Bind(tir.Shuffle([columns], list(range(i, i + size)))) for i in (0, size)]


def _as_rows(squares: list[Buffer], dot: Dot, rows: int, columns: int) -> list[Buffer]:
    registers = cleared(rows * columns, dot.accum, _LANES)
    for row in range(rows):
        first = row % 2 * 2
        order = [first, first + 1, _LANES + first, _LANES + first + 1]
        for column in range(columns):
            place = (row // 2 * columns + column) * 2
            both = [vector(square, 0, _LANES) for square in squares[place : place + 2]]
            store(registers[row * columns + column], tir.Shuffle(both, order), 0, _LANES)
    return registers
