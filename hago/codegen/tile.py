"""A register tile of a matrix product.

Everything here runs inside an open TIR builder (``tvm.script.ir_builder``). Rows are elements of
A at an address plus a constant pitch; columns are vectors of packed B.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import store, vector
from hago.codegen.intrin.dot import Dot
from hago.codegen.stream import Stream

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs


@dataclass(frozen=True, eq=False)
class Source:
    """Flat A and packed B of one tile.

    Row ``r``, tap ``t`` and run element ``k`` of A lie at ``base + r*row_pitch + tap(t) + k``;
    ``taps`` is how many separate runs a row has, ``run`` their length in A's elements.
    ``weight(column, step)`` is the packed vector of ``depth`` reduction elements from ``step``;
    ``stream`` is what is fetched meanwhile.
    """

    data: Buffer
    base: Expr
    row_pitch: int
    taps: int
    tap: Callable[[Expr], Expr]
    run: int
    weight: Callable[[int, Expr], Expr]
    stream: Stream | None = None


def accumulate(source: Source, dot: Dot, rows: int, columns: int, lanes: int) -> list[Buffer]:
    """The products of ``rows`` x ``columns`` vectors, each in a register of its own."""
    zero = tir.Broadcast(tir.const(0, dot.accum), lanes)
    registers = [T.alloc_buffer((lanes,), dot.accum) for _ in range(rows * columns)]
    for register in registers:
        store(register, zero, 0, lanes)
    steps = -(-source.run // dot.depth)
    with _each_step(source, steps) as (t, k):
        vectors = [source.weight(column, t * steps + k) for column in range(columns)]
        loaded = [T.Bind(vector) for vector in vectors]
        for row in range(rows):
            address = source.base + row * source.row_pitch + source.tap(t) + k * dot.depth
            a = T.Bind(vector(source.data, address, dot.depth))
            for column in range(columns):
                register = registers[row * columns + column]
                total = dot.emit(vector(register, 0, lanes), a, loaded[column], lanes)
                store(register, total, 0, lanes)
    return registers


@contextmanager
def _each_step(source: Source, steps: int) -> Iterator[tuple[Expr, Expr]]:
    """The loops over taps and steps, with the stream's fetches between them."""
    stream = source.stream
    if stream is None:
        with T.serial(0, source.taps) as t, T.serial(0, steps) as k:
            yield t, k
        return
    parts = steps // stream.every
    with T.serial(0, source.taps) as t, T.serial(0, parts) as part:
        for i in range(stream.count):
            stream.fetch(t * parts + part, i)
        with T.serial(0, stream.every) as step:
            yield t, part * stream.every + step


def pieces(width: int) -> list[tuple[int, int]]:
    """(offset, lanes) of the power-of-two vectors that cover ``width`` elements, largest first."""
    found, offset = [], 0
    while width:
        lanes = 1 << (width.bit_length() - 1)
        found.append((offset, lanes))
        offset, width = offset + lanes, width - lanes
    return found
