"""How the accumulators of a tile become results: the epilogue, in a loop over rows.

Accumulators go through scratch memory that stays in the first-level cache, so that the epilogue
is in the code once and not once a register: stores and loads are free beside it, and an epilogue
with a polynomial takes LLVM seconds otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import store, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.narrow import MOST, lanes_of, narrow
from hago.codegen.tile import pieces

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_STACK = 1024  # bytes; TVM takes a buffer of this size or more from the heap


@dataclass(frozen=True, eq=False)
class Target:
    """Where a tile's results go, and how to find the operands of its epilogue.

    ``load(operand, row, channel, lanes)`` and ``store(value, row, channel, lanes)`` take the row
    of the tile and the first output channel of consecutive ones.
    """

    epilogue: Epilogue
    load: Callable[[int, Expr, Expr, int], Expr]
    store: Callable[[Expr, Expr, Expr, int], None]

    def operands(self, row: Expr, channel: Expr, lanes: int) -> Callable[[int], Expr]:
        """The epilogue's operands for one vector, by number."""
        return lambda operand: self.load(operand, row, channel, lanes)


@dataclass(frozen=True)
class Tile:
    """``rows`` x ``columns`` vectors of ``lanes``; the last column has ``last`` valid lanes."""

    rows: int
    columns: int
    lanes: int
    last: int

    @property
    def whole(self) -> int:
        """Columns with all lanes."""
        return self.columns if self.last == self.lanes else self.columns - 1


def leave(registers: Sequence[Buffer], target: Target, tile: Tile, channel: Expr) -> None:
    """Run the epilogue over a tile, its ``registers`` row by row, whose first channel is given."""
    size, dtype = tile.columns * tile.lanes, target.epilogue.accumulator
    most = max(1, (_STACK - 1) // (size * 4))
    at_once = -(-tile.rows // -(-tile.rows // most))
    for first in range(0, tile.rows, at_once):
        rows = min(at_once, tile.rows - first)
        held = T.alloc_buffer((rows * size,), dtype)
        chunk = registers[first * tile.columns : (first + rows) * tile.columns]
        for number, register in enumerate(chunk):
            store(held, vector(register, 0, tile.lanes), number * tile.lanes, tile.lanes)
        _Leaving(held, target, tile, channel, first).emit(rows)


def leave_held(held: Buffer, target: Target, tile: Tile, channel: Expr) -> None:
    """:func:`leave` of a tile that lies row by row in scratch memory."""
    _Leaving(held, target, tile, channel, 0).emit(tile.rows)


def leave_row(held: Buffer, target: Target, tile: Tile, channel: Expr, row: Expr) -> None:
    """:func:`leave_held` of one ``row`` alone."""
    _Leaving(held, target, tile, channel, 0).rows(row, 1)


@dataclass(frozen=True, eq=False)
class _Leaving:
    """Some rows of a tile, from ``first``, in scratch memory."""

    held: Buffer
    target: Target
    tile: Tile
    channel: Expr
    first: int

    def emit(self, rows: int) -> None:
        """Rows whose vectors are packed together leave together."""
        together = 1
        if self.target.epilogue.narrowing is not None and self.tile.whole in (1, 2):
            together = min(MOST // self.tile.whole, rows)
        with T.serial(0, rows // together) as step:
            self.rows(T.Bind(step * together), together)
        if rows % together:
            self.rows(tir.const(rows // together * together, "int32"), rows % together)

    def rows(self, row: Expr, count: int) -> None:
        whole, lanes = self.tile.whole, self.tile.lanes
        positions = [(T.Bind(row + r), column) for r in range(count) for column in range(whole)]
        for start in range(0, len(positions), MOST):
            self._whole(positions[start : start + MOST])
        if whole < self.tile.columns:
            for r in range(count):
                for offset, width in pieces(self.tile.last):
                    self._one(row + r, whole * lanes + offset, width)

    def _whole(self, positions: Sequence[tuple[Expr, int]]) -> None:
        """Vectors with all lanes: packed to bytes together, or one by one."""
        lanes, narrowing = self.tile.lanes, self.target.epilogue.narrowing
        if narrowing is None or len(positions) == 1:
            for row, column in positions:
                self._one(row, column * lanes, lanes)
            return
        codes = [self._codes(row, column * lanes) for row, column in positions]
        packed = narrow(codes, narrowing.zero_point, narrowing.dtype, lanes)
        each = min(self.tile.whole, len(positions))
        for number in range(0, len(positions), each):
            row, column = positions[number]
            value = lanes_of(packed, number * lanes, each * lanes)
            self._store(value, row, column * lanes, each * lanes)

    def _one(self, row: Expr, offset: int, width: int) -> None:
        accumulator, operands = self._inputs(row, offset, width)
        self._store(self.target.epilogue.emit(accumulator, operands), row, offset, width)

    def _codes(self, row: Expr, offset: int) -> Expr:
        accumulator, operands = self._inputs(row, offset, self.tile.lanes)
        return self.target.epilogue.emit_codes(accumulator, operands)

    def _inputs(self, row: Expr, offset: int, width: int) -> tuple[Expr, Callable[[int], Expr]]:
        size = self.tile.columns * self.tile.lanes
        operands = self.target.operands(row + self.first, self.channel + offset, width)
        return vector(self.held, row * size + offset, width), operands

    def _store(self, value: Expr, row: Expr, offset: int, width: int) -> None:
        self.target.store(value, row + self.first, self.channel + offset, width)
