"""The product that convolutions and matrix multiplications share: gathered rows times packed B.

    out[outer, w, g, c] = epilogue(sum_{t, k} A[base(outer) + w*pitch + tap(t) + g*gpitch + k]
                                              * B[g, c, t, k])

A is never rearranged: in NHWC the ``kw * ci`` elements of one kernel row are consecutive, so a
convolution is a matrix product whose rows overlap in memory (an implicit GEMM).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import divided, flat, load_operand, store, vector
from hago.codegen.blocking import Blocking, Extents, blockings, choose_blocking
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.dot import Dot
from hago.codegen.leave import Target, Tile, leave
from hago.codegen.pairs import accumulate_pairs
from hago.codegen.partial import accumulate_partial
from hago.codegen.stream import Stream, plan_stream, stream_from
from hago.codegen.tile import Source, accumulate
from hago.codegen.workload import Array, Machine
from hago.scheme import BFLOAT16_ARRAY

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs


@dataclass(frozen=True, eq=False)
class Product:
    """The geometry of a product; strides in elements of A.

    ``outer`` rows of ``width`` pixels; ``groups`` of ``channels`` outputs, ``group_pitch`` apart
    in A; each output sums ``taps`` runs of ``run`` elements.
    """

    outer: int
    width: int
    base: Callable[[Expr], Expr]
    row_pitch: int
    taps: int
    tap: Callable[[Expr], Expr]
    run: int
    channels: int
    groups: int = 1
    group_pitch: int = 0

    def steps(self, dot: Dot) -> int:
        """Packed vectors that one column of B has."""
        return self.taps * -(-self.run // dot.depth)

    def vectors(self, lanes: int) -> int:
        """Columns of B in registers of ``lanes``."""
        return -(-self.channels // lanes)

    def extents(self, dot: Dot, lanes: int) -> Extents:
        """What is cut into tiles."""
        rows, channels = self.outer * self.width, self.groups * self.channels
        return Extents(
            outer=self.outer,
            width=self.width,
            vectors=self.vectors(lanes),
            steps=self.steps(dot),
            data_bytes=rows * self.row_pitch * np.dtype(dot.data).itemsize,
            weight_bytes=channels * self.run * self.taps * np.dtype(dot.weight).itemsize,
        )


@dataclass(frozen=True, eq=False)
class Weights:
    """Packed B: ``read(outer row, group, column vector, step)`` is one vector of it.

    ``address(number)`` is where vector ``number`` of ``size`` bytes lies, counted over all of B;
    None where B was packed just before and is in the cache.
    """

    read: Callable[[Expr, Expr, Expr, Expr], Expr]
    address: Callable[[Expr], Expr] | None = None
    size: int = 0


@dataclass(frozen=True, eq=False)
class Rows:
    """Where rows of the result lie: the first element of ``row``, and the distance of rows in a
    tile."""

    start: Callable[[Expr], Expr]
    pitch: int


# How a tile is summed: ``multiply(source, rows, columns, first vector of all columns)`` gives the
# accumulators of ``rows`` x ``columns`` vectors.
Multiply = Callable[[Source, int, int, Expr], Sequence[Buffer]]


def pack(weights: Array, dot: Dot, lanes: int) -> Array:
    """``[groups, channels, taps, run]`` -> ``[groups, vectors, taps * steps, lanes, depth]``.

    Channels and runs are padded with zeros; bfloat16 is packed as its bits.
    """
    if weights.dtype == BFLOAT16_ARRAY:
        weights = weights.view(np.uint16)
    groups, channels, taps, run = weights.shape
    vectors, steps = -(-channels // lanes), -(-run // dot.depth)
    padded = np.zeros((groups, vectors * lanes, taps, steps * dot.depth), dot.weight)
    padded[:, :channels, :, :run] = weights
    split = padded.reshape(groups, vectors, lanes, taps * steps, dot.depth)
    return np.ascontiguousarray(split.transpose(0, 1, 3, 2, 4))


def packed_shape(product: Product, dot: Dot, lanes: int) -> tuple[int, ...]:
    return (product.groups, product.vectors(lanes), product.steps(dot), lanes, dot.depth)


@contextmanager
def kernel(name: str) -> Iterator[IRBuilder]:
    """An open PrimFunc that TVM's fusion leaves alone (op_pattern 8: opaque)."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name(name)
        T.func_attr({"op_pattern": 8, "tirx.noalias": True})
        yield builder


def arguments(names: str, types: Sequence[tuple[Sequence[int], str]]) -> list[Buffer]:
    """Parameters of the open PrimFunc, ``names`` separated by spaces, the rest numbered."""
    known = names.split()
    found = []
    for number, (shape, dtype) in enumerate(types):
        name = known[number] if number < len(known) else f"operand_{number}"
        found.append(T.arg(name, T.Buffer(tuple(shape), dtype)))
    return found


def emit_product(
    product: Product,
    dot: Dot,
    machine: Machine,
    epilogue: Epilogue,
    data: Buffer,
    weight: Weights,
    operands: Sequence[Buffer],
    output: Buffer,
    shape: Sequence[int],
    multiply: Multiply | None = None,
    blocking: Blocking | None = None,
    rows: Rows | None = None,
) -> None:
    """The loops over all tiles of ``product`` (inside an open PrimFunc).

    ``data`` is flat, ``operands`` and ``output`` are flat with logical ``shape``
    [.., channels of all groups], in memory one row after another unless ``rows`` says where.
    ``multiply`` is how ``dot`` sums a tile unless it is given, ``blocking`` the static model's.
    """
    extents = product.extents(dot, machine.lanes)
    emitter = _Emitter(
        product, dot, machine.lanes, epilogue, data, weight, operands, output, shape,
        blocking or choose_blocking(extents, dot, machine),
        multiply or plain_multiply(dot, machine.lanes),
        rows or Rows(lambda row: row * shape[-1], shape[-1]),
    )  # fmt: skip
    with defined(dot):
        emitter.emit()


def product_blockings(product: Product, dot: Dot, machine: Machine) -> tuple[Blocking, ...]:
    """What :func:`emit_product` may be asked for, its own choice first."""
    return blockings(product.extents(dot, machine.lanes), dot, machine)


def plain_multiply(dot: Dot, lanes: int) -> Multiply:
    """Sums of products in the order that ``dot`` makes them."""

    def multiply(source: Source, rows: int, columns: int, _: Expr) -> Sequence[Buffer]:
        if dot.rows == 2:
            return accumulate_pairs(source, dot, rows, columns)
        if dot.sums > 1:
            return accumulate_partial(source, dot, rows, columns)
        return accumulate(source, dot, rows, columns, lanes)

    return multiply


@contextmanager
def defined(dot: Dot) -> Iterator[None]:
    """Where the LLVM functions that ``dot`` calls are known."""
    if not dot.llvm:
        yield
        return
    with T.attr(tir.const(0, "int32"), "pragma_import_llvm", dot.llvm):
        yield


@dataclass(frozen=True, eq=False)
class _Emitter:
    product: Product
    dot: Dot
    lanes: int
    epilogue: Epilogue
    data: Buffer
    weight: Weights
    operands: Sequence[Buffer]
    output: Buffer
    shape: Sequence[int]
    blocking: Blocking
    multiply: Multiply
    rows: Rows

    def emit(self) -> None:
        product, blocking = self.product, self.blocking
        row_tiles = self._row_tiles
        column_tiles = -(-product.vectors(self.lanes) // blocking.columns)
        rows = product.outer * row_tiles
        columns = product.groups * column_tiles
        with T.parallel(0, rows * columns) as index:
            band, place = divided(index, blocking.band * columns)
            column, row = divided(place, blocking.band)
            row, column = T.Bind(band * blocking.band + row), T.Bind(column)
            self._rows(*divided(row, row_tiles), *divided(column, column_tiles))

    @property
    def _row_tiles(self) -> int:
        return -(-self.product.width // self.blocking.rows)

    def _stream(self, row: Expr, group: Expr, column: Expr) -> Stream | None:
        """What row tile ``row`` of all fetches of the block of B behind this one."""
        product, columns, words = self.product, self.blocking.columns, self.dot.words
        steps, rows = product.steps(self.dot), product.outer * self._row_tiles
        address = self.weight.address
        if address is None or self.blocking.band < rows:
            return None
        blocks = steps // product.taps // words
        if blocks == 0:
            return None
        plan = plan_stream(columns * words, rows, blocks, self.weight.size)
        vectors = product.vectors(self.lanes)
        last = product.groups * vectors * steps - 1
        block = T.Bind((group * vectors + (column + 1) * columns) * steps)
        first = T.Bind(block + row * plan.ahead(product.taps * blocks))
        return stream_from(first, last, plan, address)

    def _rows(self, outer: Expr, row: Expr, group: Expr, column: Expr) -> None:
        size, width = self.blocking.rows, self.product.width
        cut(row, width, size, lambda rows: self._columns(outer, row, group, column, rows))

    def _columns(self, outer: Expr, row: Expr, group: Expr, column: Expr, rows: int) -> None:
        size, vectors = self.blocking.columns, self.product.vectors(self.lanes)
        cut(
            column,
            vectors,
            size,
            lambda columns: self._tile(outer, row, group, column, rows, columns),
        )

    def _tile(
        self, outer: Expr, row: Expr, group: Expr, column: Expr, rows: int, columns: int
    ) -> None:
        product, lanes = self.product, self.lanes
        first_row = row * self.blocking.rows
        first_vector = column * self.blocking.columns
        base = T.Bind(
            product.base(outer) + first_row * product.row_pitch + group * product.group_pitch
        )
        source = Source(
            self.data, base, product.row_pitch, product.taps, product.tap, product.run,
            lambda c, step: self.weight.read(outer, group, first_vector + c, step),
            self._stream(outer * self._row_tiles + row, group, column),
        )  # fmt: skip
        column_vectors = group * product.vectors(lanes) + first_vector
        registers = self.multiply(source, rows, columns, column_vectors)
        start = T.Bind(outer * product.width + first_row)
        channel = T.Bind(group * product.channels + first_vector * lanes)
        self._leave(registers, start, channel, first_vector, rows, columns)

    def _leave(
        self,
        registers: Sequence[Buffer],
        start: Expr,
        channel: Expr,
        first_vector: Expr,
        rows: int,
        columns: int,
    ) -> None:
        product, lanes = self.product, self.lanes
        target = self._target(start)
        vectors, rest = product.vectors(lanes), product.channels % lanes
        whole, partial = (Tile(rows, columns, lanes, last) for last in (lanes, rest))
        if rest == 0:
            leave(registers, target, whole, channel)
            return
        if columns == vectors or columns < self.blocking.columns:
            leave(registers, target, partial, channel)
            return
        with T.If(first_vector + columns == vectors):
            with T.Then():
                leave(registers, target, partial, channel)
            with T.Else():
                leave(registers, target, whole, channel)

    def _target(self, start: Expr) -> Target:
        first = T.Bind(self.rows.start(start))

        def load(number: int, row: Expr, channel: Expr, lanes: int) -> Expr:
            operand = self.epilogue.operands[number]
            return load_operand(
                self.operands[number], operand, self.shape, start + row, channel, lanes
            )

        def write(value: Expr, row: Expr, channel: Expr, count: int) -> None:
            store(self.output, value, first + row * self.rows.pitch + channel, count)

        return Target(self.epilogue, load, write)


def cut(index: Expr, total: int, size: int, body: Callable[[int], None]) -> None:
    """``body(size)``, and for the last piece ``body(total % size)``."""
    rest = total % size
    if rest == 0 or total < size:
        body(size if rest == 0 else rest)
        return
    with T.If(index < total // size):
        with T.Then():
            body(size)
        with T.Else():
            body(rest)


def packed_weight(buffer: Buffer, product: Product, dot: Dot, lanes: int) -> Weights:
    """How to read constant packed weights."""
    size = lanes * dot.depth
    steps, vectors = product.steps(dot), product.vectors(lanes)
    memory = flat(buffer)

    def read(_: Expr, group: Expr, column: Expr, step: Expr) -> Expr:
        return vector(memory, ((group * vectors + column) * steps + step) * size, size)

    held = size * np.dtype(dot.weight).itemsize
    return Weights(read, lambda number: tir.address_of(memory[number * size]), held)
