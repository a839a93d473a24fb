"""A register tile of a matrix product, and the epilogue that leaves it.

Everything here runs inside an open TIR builder (``tvm.script.ir_builder``). Rows are elements of
A at an address plus a constant pitch; columns are vectors of packed B.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.dot import Dot

Expr = tir.Expr
Buffer = Any  # tirx.Buffer: has no stubs


@dataclass(frozen=True, eq=False)
class Source:
    """Flat A and packed B of one tile.

    Row ``r``, tap ``t`` and run element ``k`` of A lie at ``base + r*row_pitch + tap(t) + k``;
    ``taps`` is how many separate runs a row has, ``run`` their length in A's elements.
    ``weight(column, step)`` is the packed vector of ``depth`` reduction elements from ``step``.
    """

    data: Buffer
    base: Expr
    row_pitch: int
    taps: int
    tap: Callable[[Expr], Expr]
    run: int
    weight: Callable[[int, Expr], Expr]


def accumulate(source: Source, dot: Dot, rows: int, columns: int, lanes: int) -> list[Buffer]:
    """The products of ``rows`` x ``columns`` vectors, each in a register of its own."""
    zero = tir.Broadcast(tir.const(0, dot.accum), lanes)
    registers = [
        T.alloc_buffer((1,), f"{dot.accum}x{lanes}") for _ in range(rows * columns)
    ]
    for register in registers:
        T.buffer_store(register, zero, [0])
    steps = -(-source.run // dot.depth)
    with T.serial(0, source.taps) as t, T.serial(0, steps) as k:
        vectors = [source.weight(column, t * steps + k) for column in range(columns)]
        loaded = [T.Bind(vector) for vector in vectors]
        for row in range(rows):
            address = source.base + row * source.row_pitch + source.tap(t) + k * dot.depth
            a = T.Bind(_read(source.data, address, dot.depth))
            for column in range(columns):
                register = registers[row * columns + column]
                T.buffer_store(register, dot.emit(register[0], a, loaded[column], lanes), [0])
    return registers


def _read(buffer: Buffer, address: Expr, count: int) -> Expr:
    return buffer[tir.Ramp(address, 1, count)] if count > 1 else buffer[address]


@dataclass(frozen=True, eq=False)
class Target:
    """Where a tile's results go, and how to find the operands of its epilogue.

    ``load(operand, row, column, lanes)`` and ``store(value, row, column, lanes)`` take the row
    of the tile and the first output channel of a vector; ``channels`` bounds the columns.
    """

    epilogue: Epilogue
    load: Callable[[int, int, Expr, int], Expr]
    store: Callable[[Expr, int, Expr, int], None]


def pieces(width: int) -> list[tuple[int, int]]:
    """(offset, lanes) of the power-of-two vectors that cover ``width`` < one register."""
    found, offset = [], 0
    while width:
        lanes = 1 << (width.bit_length() - 1)
        found.append((offset, lanes))
        offset, width = offset + lanes, width - lanes
    return found


def leave(
    registers: Sequence[Buffer],
    target: Target,
    rows: int,
    columns: int,
    lanes: int,
    first: Expr,
    last_width: int,
) -> None:
    """Run the epilogue over a tile whose first channel is ``first``.

    The last column vector has ``last_width`` valid channels; when that is not all lanes it goes
    through a scratch register file in power-of-two vectors.
    """
    for row in range(rows):
        for column in range(columns):
            register = registers[row * columns + column]
            channel = first + column * lanes
            if column < columns - 1 or last_width == lanes:
                _apply(register[0], target, row, channel, lanes)
            else:
                _apply_partly(register, target, row, channel, lanes, last_width)


def _apply(acc: Expr, target: Target, row: int, channel: Expr, lanes: int) -> None:
    value = target.epilogue.emit(acc, lambda i: target.load(i, row, channel, lanes))
    target.store(value, row, channel, lanes)


def _apply_partly(
    register: Buffer, target: Target, row: int, channel: Expr, lanes: int, width: int
) -> None:
    scratch = T.alloc_buffer((lanes,), target.epilogue.accumulator)
    T.buffer_store(scratch, register[0], [tir.Ramp(0, 1, lanes)])
    for offset, count in pieces(width):
        index = tir.Ramp(offset, 1, count) if count > 1 else offset
        _apply(scratch[index], target, row, channel + offset, count)
