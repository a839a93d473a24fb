"""How C tiles leave: from scratch memory through the epilogue, in vectors of 16 channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import load_operand, store, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.amx import LANES
from hago.codegen.kernels.cut_amx import Cut
from hago.codegen.kernels.product import Product
from hago.codegen.tile import pieces

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
ByRow: TypeAlias = Callable[[Expr], Expr]


@dataclass(frozen=True)
class Positions:
    """Which positions along a product's width are outputs: of every ``span`` the first ``kept``.

    The others are computed and dropped: a tile may go on from one row of an image to the next
    through the columns that pad it.
    """

    span: int
    kept: int

    def count(self, width: int) -> int:
        """Outputs among ``width`` positions, which end with an output."""
        return -(-width // self.span) * self.kept


@dataclass(frozen=True, eq=False)
class Output:
    """Where a product goes: ``operands`` and ``memory`` are flat with logical ``shape``
    [.., channels].

    The channels of groups stand side by side; where ``groups_are_rows``, a group (of a batch)
    has rows of its own.
    """

    epilogue: Epilogue
    operands: Sequence[Buffer]
    memory: Buffer
    shape: Sequence[int]
    positions: Positions
    groups_are_rows: bool = False


@dataclass(frozen=True, eq=False)
class Strip:
    """Rows of a tile: ``skipped`` of them belong to the strip before."""

    outer: Expr
    start: Expr
    skipped: Expr


def find_strip(product: Product, cut: Cut, strip: Expr) -> Strip:
    """The last strip of a width is moved back, to end with it."""
    wanted = tir.floormod(strip, cut.strips) * cut.rows
    start = tir.min(wanted, product.width - cut.rows)
    return Strip(tir.floordiv(strip, cut.strips), start, wanted - start)


@dataclass(frozen=True, eq=False)
class Leaving:
    """The epilogue over the tiles of a block that lie in ``scratch``, side by side."""

    product: Product
    cut: Cut
    output: Output
    scratch: Buffer

    def tile(self, strip: Expr, group: Expr, vector: Expr, place: Expr) -> None:
        """The tile whose first element is ``scratch[place]``."""
        at = find_strip(self.product, self.cut, strip)
        start, skipped = T.Bind(at.start), T.Bind(at.skipped)
        first = at.outer * self._rows_of_outer()
        channel = vector * LANES
        if self.output.groups_are_rows:
            first = first + group * (self.product.outer * self._rows_of_outer())
        else:
            channel = channel + group * self.product.channels
        bound = Strip(T.Bind(first), start, skipped)
        channel = T.Bind(channel)

        def leave(width: int) -> None:
            for offset, count in pieces(width):
                self._columns(bound, place + offset, channel + offset, count)

        self._by_width(vector, leave)

    def _rows_of_outer(self) -> int:
        return self.output.positions.count(self.product.width)

    def _by_width(self, vector: Expr, leave: Callable[[int], None]) -> None:
        """``leave`` with the channels of a vector: the last one may have fewer than 16."""
        vectors, rest = self.product.vectors(LANES), self.product.channels % LANES
        if rest == 0 or vectors == 1:
            leave(rest or LANES)
            return
        with T.If(vector < vectors - 1):
            with T.Then():
                leave(LANES)
            with T.Else():
                leave(rest)

    def _columns(self, at: Strip, place: Expr, channel: Expr, count: int) -> None:
        """Up to 16 channels of a tile, row by row; ``at.outer`` is its first output row."""
        positions, pitch = self.output.positions, self.cut.block_columns * LANES
        operands = [self._operand(i, channel, count) for i in range(len(self.output.operands))]

        def leave(r: Expr, row: Expr) -> None:
            accumulator = vector(self.scratch, place + r * pitch, count)
            value = self.output.epilogue.emit(accumulator, lambda i: operands[i](row))
            store(self.output.memory, value, row * self.output.shape[-1] + channel, count)

        with T.serial(at.skipped, self.cut.rows) as r:
            position = at.start + r
            if positions.kept == positions.span:
                leave(r, T.Bind(at.outer + position))
                return
            column = T.Bind(tir.floormod(position, positions.span))
            with T.If(column < positions.kept), T.Then():
                line = tir.floordiv(position, positions.span)
                leave(r, T.Bind(at.outer + line * positions.kept + column))

    def _operand(self, number: int, channel: Expr, count: int) -> ByRow:
        """How to load an operand for a row. One that is the same for all rows is loaded now."""
        operand, buffer = self.output.epilogue.operands[number], self.output.operands[number]

        def load(row: Expr) -> Expr:
            return load_operand(buffer, operand, self.output.shape, row, channel, count)

        if math.prod(operand.shape[:-1]) != 1:
            return load
        value = T.Bind(load(tir.const(0, "int32")))
        return lambda row: value
