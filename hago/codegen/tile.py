"""A register tile of a matrix product.

Everything here runs inside an open TIR builder (``tvm.script.ir_builder``). Rows are elements of
A at an address plus a constant pitch; columns are vectors of packed B.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import store, vector
from hago.codegen.intrin.dot import Dot
from hago.codegen.stream import Stream
from hago.codegen.vector import dtype_of

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
# Steps of a float32 tile in a row: with AVX2, ResNet-50 takes 0.94 of its time (Zen 3); steps of
# several instructions take 1.04 of theirs.
_UNROLLED = 4


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
    registers = cleared(rows * columns, dot.accum, lanes)
    steps = -(-source.run // dot.depth)

    def block(t: Expr, first: Expr, words: int) -> None:
        held: list[Expr] = []
        for word in range(words):
            vectors = [source.weight(c, t * steps + first + word) for c in range(columns)]
            loaded = [T.Bind(vector) for vector in vectors]
            for row in range(rows):
                if word == 0:
                    address = source.base + row * source.row_pitch + source.tap(t)
                    address = address + first * dot.depth
                    held.append(T.Bind(vector(source.data, address, dot.depth * words)))
                a = _word(held[row], word, words)
                for column in range(columns):
                    register = registers[row * columns + column]
                    total = dot.emit(vector(register, 0, lanes), a, loaded[column], lanes)
                    store(register, total, 0, lanes)

    is_short = dot.accum == "float32" and dot.words == 1
    each_block(source, steps, dot.words, block, _UNROLLED if is_short else 1)
    return registers


def _word(held: Expr, number: int, words: int) -> Expr:
    """One 32-bit word of the ``words`` in a vector."""
    if words == 1:
        return held
    dtype, lanes = dtype_of(held)
    if lanes == words:
        return tir.Shuffle([held], [number])
    word = tir.Shuffle([tir.reinterpret(f"int32x{words}", held)], [number])
    return tir.reinterpret(f"{dtype}x{lanes // words}", word)


def cleared(count: int, dtype: str, lanes: int) -> list[Buffer]:
    """``count`` registers of zeros."""
    zero = tir.Broadcast(tir.const(0, dtype), lanes)
    registers = [T.alloc_buffer((lanes,), dtype) for _ in range(count)]
    for register in registers:
        store(register, zero, 0, lanes)
    return registers


def each_block(
    source: Source,
    steps: int,
    words: int,
    body: Callable[[Expr, Expr, int], None],
    unrolled: int = 1,
) -> None:
    """``body(tap, first step, steps)`` over all taps: ``words`` steps at once, the rest of a run
    one by one, at most ``unrolled`` bodies an iteration. The stream's fetches are between them."""
    stream, blocks = source.stream, steps // words
    with T.serial(0, source.taps) as t:

        def whole(block: Expr) -> None:
            body(t, block * words, words)

        if stream is None and blocks:
            _repeat(tir.const(0, "int32"), blocks, unrolled, whole)
        elif stream is not None:
            parts = blocks // stream.every
            with T.serial(0, parts) as part:
                for i in range(stream.count):
                    stream.fetch(t * parts + part, i)
                _repeat(part * stream.every, stream.every, unrolled, whole)
        for step in range(blocks * words, steps):
            body(t, tir.const(step, "int32"), 1)


def _repeat(first: Expr, count: int, unrolled: int, body: Callable[[Expr], None]) -> None:
    """``body`` of ``count`` numbers from ``first`` on, the largest divisor up to ``unrolled`` of
    them an iteration."""
    size = max(n for n in range(1, unrolled + 1) if count % n == 0)
    with T.serial(0, count // size) as block:
        for number in range(size):
            body(first + block * size + number)


def pieces(width: int) -> list[tuple[int, int]]:
    """(offset, lanes) of the power-of-two vectors that cover ``width`` elements, largest first."""
    found, offset = [], 0
    while width:
        lanes = 1 << (width.bit_length() - 1)
        found.append((offset, lanes))
        offset, width = offset + lanes, width - lanes
    return found


def tile_pixels(width: int, most: int) -> int:
    """Output pixels of a tile: few enough for registers, dividing the row if possible."""
    return max(range(1, min(most, width) + 1), key=lambda p: (p - (width % p > 0) * p // 2, p))
