"""The product of :mod:`hago.codegen.kernels.product` by AMX tiles.

    out[outer, w, g, c] = epilogue(sum_{t, k} A[base(outer) + w*pitch + tap(t) + g*gpitch + k]
                                              * B[g, c, t, k])

A is not rearranged either: a tile load takes rows any distance apart, so a convolution is a
matrix product whose rows overlap in memory.

Blocks of C tiles take turns: while one is multiplied, the one before leaves. A product keeps the
tile unit busy for 16 cycles with one instruction, an epilogue keeps the vector units busy; but a
processor looks ahead by some 500 instructions only, so the code itself has to mix them.

Counted in the assembly, for 3x3, 64 to 64 channels, 56x56 (tiles of 14 rows): a step is 4 products
(56 cycles), 4 tile loads (60 rows, 30 cycles) and about 20 scalar instructions (4 cycles); a block
is 9 steps (504 cycles). It leaves as 56 rows of 16 channels at 12 vector instructions with a
residual (two a cycle: 336), 9 without, and 56 rows of tile stores. One after the other that were
900 cycles; mixed, the products alone bound it. With one step (1x1, 64 channels) the epilogue does:
64 cycles of products beside 64 rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.intrin import amx
from hago.codegen.intrin.amx import LANES, TileProduct
from hago.codegen.kernels.convert import copy_run, fill
from hago.codegen.kernels.cut_amx import Cut, block_count, column_blocks, row_blocks
from hago.codegen.kernels.leave_amx import Leaving, Output, find_strip
from hago.codegen.kernels.product import Product
from hago.codegen.vector import storage
from hago.codegen.workload import Array
from hago.scheme import BFLOAT16_ARRAY

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_A, _B = 4, 6  # the first tile of A and of B; those of C begin at 0


def pack(weights: Array, tile: TileProduct, cut: Cut) -> Array:
    """``[groups, channels, taps, run]`` -> ``[groups, vectors, taps, steps, rows, lanes, depth]``.

    Channels are padded with zeros. Where the last step of a run begins inside of the one before,
    the weights that this one has are zeros. bfloat16 is packed as its bits.
    """
    if weights.dtype == BFLOAT16_ARRAY:
        weights = weights.view(np.uint16)
    groups, channels, taps, run = weights.shape
    size, vectors = cut.step_bytes // tile.size, -(-channels // LANES)
    padded = np.zeros((groups, vectors * LANES, taps, cut.steps, size), storage(tile.weight))
    for step in range(cut.steps):
        start, stop = step * size, min((step + 1) * size, run)
        place = start - max(min(start, run - size), 0)
        padded[:, :channels, :, step, place : place + stop - start] = weights[..., start:stop]
    split = padded.reshape(groups, vectors, LANES, taps, cut.steps, -1, tile.depth)
    return np.ascontiguousarray(split.transpose(0, 1, 3, 4, 5, 2, 6))


def packed_shape(product: Product, tile: TileProduct, cut: Cut) -> tuple[int, ...]:
    return (
        product.groups, product.vectors(LANES), product.taps, cut.steps,
        cut.step_bytes // 4, LANES, tile.depth,
    )  # fmt: skip


def padded_rows(data: Buffer, rows: int, length: int, pitch: int) -> Buffer:
    """Flat ``data`` [rows, length] with rows ``pitch`` apart and zeros between them."""
    if pitch == length:
        return data
    dtype = str(data.dtype)
    copy = T.alloc_buffer((rows * pitch,), dtype)
    with T.parallel(0, rows) as row:
        copy_run(copy, row * pitch, data, row * length, length, dtype)
        fill(copy, row * pitch + length, pitch - length, 0, dtype)
    return copy


@dataclass(frozen=True, eq=False)
class Block:
    """C tiles that are multiplied together: strips of rows by vectors of a group's channels."""

    strip: Expr
    group: Expr
    vector: Expr


@dataclass(frozen=True, eq=False)
class TiledProduct:
    """The loops over all tiles of ``product`` (inside of an open PrimFunc)."""

    product: Product
    tile: TileProduct
    cut: Cut
    data: Buffer
    weight: Buffer
    output: Output

    def emit(self) -> None:
        cut, blocks = self.cut, block_count(self.product, self.cut)
        size = cut.block_rows * cut.rows * cut.block_columns * LANES
        with T.parallel(0, -(-blocks // cut.task_blocks)) as task:
            # Configuration belongs to a thread, and a task does not know what its thread ran.
            amx.configure(amx.configuration(cut.rows, cut.step_bytes))
            scratch = T.alloc_buffer((size,), self.tile.accum)
            first = T.Bind(task * cut.task_blocks)
            count = T.Bind(tir.min(cut.task_blocks, blocks - first))
            with T.serial(0, count + 1) as turn:
                self._turn(first, turn, count, scratch)
            amx.release()

    def _turn(self, first: Expr, turn: Expr, count: Expr, scratch: Buffer) -> None:
        """Block ``turn`` of a task is multiplied, the one before leaves, tile by tile.

        There is one scratch memory for both: a block is stored when the one before has left.
        """
        tiles = self.cut.block_rows * self.cut.block_columns
        block = self._block(first + tir.min(turn, count - 1))
        before = self._block(first + tir.max(turn - 1, 0))
        rows, weight = self._addresses(block)
        with T.If(turn < count), T.Then():
            for number in range(tiles):
                amx.zero(number)
        with T.serial(0, tiles) as part:
            with T.If(turn < count), T.Then():
                self._multiply(block, rows, weight, part, tiles)
            with T.If(turn > 0), T.Then():
                self._leave(before, part, scratch)
        with T.If(turn < count), T.Then():
            self._store(scratch)

    def _block(self, index: Expr) -> Block:
        cut, product = self.cut, self.product
        rows, columns = row_blocks(product, cut), column_blocks(product, cut)
        inner = rows if cut.columns_outer else columns
        outside, inside = tir.floordiv(index, inner), tir.floormod(index, inner)
        row, column = (inside, outside) if cut.columns_outer else (outside, inside)
        per_group = columns // product.groups
        return Block(
            T.Bind(row * cut.block_rows),
            T.Bind(tir.floordiv(column, per_group)),
            T.Bind(tir.floormod(column, per_group) * cut.block_columns),
        )

    def _addresses(self, block: Block) -> tuple[list[Expr], Expr]:
        """Bytes at which each strip of A and the first column of B begin."""
        product, cut, rows = self.product, self.cut, []
        for i in range(cut.block_rows):
            last = product.outer * cut.strips - 1
            strip = find_strip(product, cut, tir.min(block.strip + i, last))
            base = product.base(strip.outer) + strip.start * product.row_pitch
            rows.append(T.Bind((base + block.group * product.group_pitch) * self.tile.size))
        column = block.group * product.vectors(LANES) + block.vector
        return rows, T.Bind(column * self._column_bytes())

    def _column_bytes(self) -> int:
        return self.product.taps * self.cut.steps * self._tile_bytes()

    def _tile_bytes(self) -> int:
        """Of B: a row of 64 bytes for each 4 bytes of A."""
        return self.cut.step_bytes // 4 * amx.ROW_BYTES

    def _multiply(
        self, block: Block, rows: Sequence[Expr], weight: Expr, part: Expr, parts: int
    ) -> None:
        """One of ``parts`` equal shares of the reduction."""
        product, cut = self.product, self.cut
        total = product.taps * cut.steps
        start, stop = (tir.floordiv((part + i) * total + parts - 1, parts) for i in range(2))

        def multiply(strips: int, vectors: int) -> None:
            with T.serial(T.Bind(start), T.Bind(stop)) as step:
                offset = self._step_offset(step)
                place = T.Bind(weight + step * self._tile_bytes())
                self._step([row + offset for row in rows[:strips]], place, vectors)

        _cut(block.strip, product.outer * cut.strips, cut.block_rows, lambda strips: _cut(
            block.vector, product.vectors(LANES), cut.block_columns,
            lambda vectors: multiply(strips, vectors),
        ))  # fmt: skip

    def _step_offset(self, step: Expr) -> Expr:
        """Bytes from a row's base to a step of the reduction."""
        product, cut, size = self.product, self.cut, self.cut.step_bytes // self.tile.size
        start = tir.floormod(step, cut.steps) * size
        if cut.steps * size > product.run:
            start = tir.min(start, max(product.run - size, 0))
        return T.Bind((product.tap(tir.floordiv(step, cut.steps)) + start) * self.tile.size)

    def _step(self, rows: Sequence[Expr], weight: Expr, vectors: int) -> None:
        """Each load stands right in front of its first product.

        Two tiles of A and two of B take turns, so that a load need not wait for the product
        that read the tile before.
        """
        pitch = self.product.row_pitch * self.tile.size
        for i, row in enumerate(rows):
            a = _A + i % 2
            amx.load(a, self.data, row, pitch)
            for j in range(vectors):
                b = _B + j % 2
                if i == 0:
                    amx.load(b, self.weight, weight + j * self._column_bytes(), amx.ROW_BYTES)
                amx.multiply(self.tile, i * self.cut.block_columns + j, a, b)

    def _store(self, scratch: Buffer) -> None:
        pitch = self.cut.block_columns * amx.ROW_BYTES
        for number in range(self.cut.block_rows * self.cut.block_columns):
            i, j = divmod(number, self.cut.block_columns)
            offset = i * self.cut.rows * pitch + j * amx.ROW_BYTES
            amx.store(number, scratch, tir.const(offset, "int32"), pitch)

    def _leave(self, block: Block, part: Expr, scratch: Buffer) -> None:
        """Tile number ``part`` of a block."""
        product, cut = self.product, self.cut
        i, j = tir.floordiv(part, cut.block_columns), tir.floormod(part, cut.block_columns)
        strip, vector = T.Bind(block.strip + i), T.Bind(block.vector + j)
        exists = tir.all(strip < product.outer * cut.strips, vector < product.vectors(LANES))
        with T.If(exists), T.Then():
            place = T.Bind((i * cut.rows * cut.block_columns + j) * LANES)
            leaving = Leaving(product, cut, self.output, scratch)
            leaving.tile(strip, block.group, vector, place)


def _cut(first: Expr, total: int, size: int, body: Callable[[int], None]) -> None:
    """``body(size)``, and where only ``total % size`` are left from ``first``, with that."""
    rest = total % size
    if rest == 0 or total < size:
        body(rest or size)
        return
    with T.If(first + size <= total):
        with T.Then():
            body(size)
        with T.Else():
            body(rest)
