"""3x3 convolution of stride 1 as 16 products whose rows are squares of 2x2 outputs.

    sums[p, square, co] = sum_ci (B' x B)[p, square, ci] * (G w G')[p, co, ci]
    out[2x2 pixels of the square, co] = epilogue((A' sums A)[square, co])

Squares are taken in bands whose transformed inputs stay in the second-level cache; the sums of a
tile stay in the first. See hago/codegen/winograd.py for the transforms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import winograd
from hago.codegen.access import divided, flat, load_operand, store, vector
from hago.codegen.blocking import Blocking, Extents, blockings, choose_blocking
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.dot import Dot
from hago.codegen.kernels.product import arguments, cut, kernel, pack
from hago.codegen.leave import Target, Tile, leave
from hago.codegen.select import choose_dot, dots_of
from hago.codegen.squares import Inputs, Squares, elements, scratch
from hago.codegen.stream import Stream, plan_stream, stream_from
from hago.codegen.tile import Source, accumulate
from hago.codegen.winograd import INPUTS, OUTPUTS, POINTS
from hago.codegen.workload import Array, Conv2d, Kernel, Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_BAND = 1 << 20  # bytes of transformed inputs that stay in the second-level cache
# What multiplies transformed operands, by what multiplies plain ones. Transformed bytes are words
# of 16 bits: no instruction multiplies half as many of these as VPDPBUSD does of bytes.
_MULTIPLIES = {"vfmadd": "vfmadd", "vpmaddubsw": "vpmaddwd", "vpmaddwd": "vpmaddwd"}


@dataclass(frozen=True)
class WinogradTile:
    """A tile is ``rows`` squares by ``columns`` vectors of channels; the inputs of ``band`` tiles
    of rows are transformed before all columns are multiplied by them."""

    rows: int
    columns: int
    band: int

    def __str__(self) -> str:
        return f"F(2x2, 3x3) {self.rows}x{self.columns}, bands of {self.band}"


def transforms(workload: Conv2d, machine: Machine) -> bool:
    """Whether :func:`build_conv_winograd` takes the convolution: nothing overflows, and channels
    fill vectors."""
    window = (workload.kh, workload.kw, *workload.strides, *workload.dilation, workload.groups)
    if window != (3, 3, 1, 1, 1, 1, 1) or workload.data == "bfloat16":
        return False
    dot = transformed_dot(workload, machine)
    if dot is None or workload.ci % elements(dot, machine) or workload.co % machine.lanes:
        return False
    return winograd.stays_exact(workload.data, workload.weight, workload.ci)


def transformed_dot(workload: Conv2d, machine: Machine) -> Dot | None:
    """What multiplies transformed operands of the workload."""
    name = _MULTIPLIES.get(choose_dot(workload, machine).name)
    return next((dot for dot in dots_of(machine) if dot.name == name), None)


def winograd_tiles(workload: Conv2d, machine: Machine) -> tuple[WinogradTile, ...]:
    """What :func:`build_conv_winograd` may be asked for, its own choice first."""
    dot = _dot(workload, machine)
    extents = Squares.of(workload).extents(dot, machine.lanes)
    tiles = [_tile(each, extents) for each in blockings(extents, dot, machine.registers)]
    whole = [replace(each, band=-(-extents.width // each.rows)) for each in tiles]
    return tuple(dict.fromkeys([*tiles, *whole]))


def build_conv_winograd(
    workload: Conv2d, epilogue: Epilogue, machine: Machine, tile: WinogradTile | None = None
) -> Kernel:
    """``func(data [n,h,w,ci], transformed weights, *operands, output [n,oh,ow,co])``."""
    dot, lanes, squares = _dot(workload, machine), machine.lanes, Squares.of(workload)
    extents = squares.extents(dot, lanes)
    tile = tile or _tile(choose_blocking(extents, dot, machine.registers), extents)
    types = [
        ((workload.n, workload.h, workload.w, workload.ci), workload.data),
        ((1, extents.vectors, POINTS * extents.steps, lanes, dot.depth), dot.weight),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("conv2d") as builder:
        data, weight, *operands, output = arguments("data weight", types)
        target = scratch(tile.band, tile.rows, squares, dot.data)
        inputs = Inputs(squares, flat(data), target, dot.data, elements(dot, machine))
        _Emitter(
            squares, tile, dot, extents, lanes, epilogue, inputs, flat(weight),
            [flat(operand) for operand in operands], flat(output),
        ).emit()  # fmt: skip

    def pack_weight(weight: Array) -> Array:
        return pack(winograd.transform_weight(weight, dot.weight), dot, lanes)

    return Kernel(builder.get(), pack_weight, "conv2d")


def _dot(workload: Conv2d, machine: Machine) -> Dot:
    dot = transformed_dot(workload, machine)
    assert dot is not None, workload
    return dot


def _tile(blocking: Blocking, extents: Extents) -> WinogradTile:
    """``blocking`` with bands of about the same size that stay in the cache."""
    tiles = -(-extents.width // blocking.rows)
    bands = -(-extents.data_bytes * POINTS // _BAND)
    return WinogradTile(blocking.rows, blocking.columns, -(-tiles // bands))


@dataclass(frozen=True, eq=False)
class _Emitter:
    squares: Squares
    tile: WinogradTile
    dot: Dot
    extents: Extents
    lanes: int
    epilogue: Epilogue
    inputs: Inputs
    weight: Buffer
    operands: Sequence[Buffer]
    output: Buffer

    def emit(self) -> None:
        band = self.tile.band
        tiles = -(-self.extents.width // self.tile.rows)
        columns = -(-self.extents.vectors // self.tile.columns)
        with T.serial(0, -(-tiles // band)) as number:
            first = T.Bind(number * band)
            count = T.Bind(tir.min(band, tiles - first))
            with T.parallel(0, count) as place:
                self._transform(T.Bind(first + place), place)
            with T.parallel(0, count * columns) as index:
                column, place = divided(index, count)
                self._rows(T.Bind(first + place), place, column)

    def _transform(self, row: Expr, place: Expr) -> None:
        """The inputs of row tile ``row``, which is at ``place`` in its band."""
        rows, ci = self.tile.rows, self.squares.workload.ci
        first = T.Bind(row * rows)
        with T.serial(0, tir.min(rows, self.squares.count - first)) as square:
            start = T.Bind((place * (POINTS * rows) + square) * ci)
            self.inputs.transform(T.Bind(first + square), start, rows * ci)

    def _rows(self, row: Expr, place: Expr, column: Expr) -> None:
        def columns(rows: int) -> None:
            cut(column, self.extents.vectors, self.tile.columns,
                lambda columns: self._tile(row, place, column, rows, columns))  # fmt: skip

        cut(row, self.extents.width, self.tile.rows, columns)

    def _tile(self, row: Expr, place: Expr, column: Expr, rows: int, columns: int) -> None:
        """The sums of a tile, point by point, then its outputs."""
        lanes, size = self.lanes, rows * columns
        sums = T.alloc_buffer((POINTS * size * lanes,), self.dot.accum)
        with T.serial(0, POINTS) as point:
            source = self._source(place, column, point)
            registers = accumulate(source, self.dot, rows, columns, lanes)
            for number, register in enumerate(registers):
                store(sums, vector(register, 0, lanes), (point * size + number) * lanes, lanes)
        with T.serial(0, rows) as square:
            registers = self._outputs(sums, T.Bind(square * (columns * lanes)), size, columns)
            channel = T.Bind(column * (self.tile.columns * lanes))
            self._leave(registers, T.Bind(row * self.tile.rows + square), channel, columns)

    def _source(self, place: Expr, column: Expr, point: Expr) -> Source:
        ci, steps, size = self.squares.workload.ci, self.extents.steps, self.lanes * self.dot.depth
        base = T.Bind((place * POINTS + point) * (self.tile.rows * ci))

        def weight(c: int, step: Expr) -> Expr:
            line = (column * self.tile.columns + c) * POINTS + point
            return vector(self.weight, (line * steps + step) * size, size)

        return Source(
            self.inputs.target, base, ci, 1, lambda _: tir.const(0, "int32"), ci, weight,
            self._stream(place, column, point),
        )  # fmt: skip

    def _stream(self, place: Expr, column: Expr, point: Expr) -> Stream:
        """What a tile fetches of the next columns of weights."""
        columns, steps = self.tile.columns, self.extents.steps
        size = self.lanes * self.dot.depth
        held = size * np.dtype(self.dot.weight).itemsize
        plan = plan_stream(columns, self.tile.band, steps, held)
        before = (place * POINTS + point) * plan.ahead(steps)
        first = T.Bind((column + 1) * (columns * POINTS * steps) + before)
        last = self.extents.vectors * POINTS * steps - 1
        return stream_from(
            first, last, plan, lambda number: tir.address_of(self.weight[number * size])
        )

    def _outputs(self, sums: Buffer, first: Expr, size: int, columns: int) -> list[Buffer]:
        """The outputs of the square whose sums lie behind ``first``, pixel by pixel."""
        registers = [
            T.alloc_buffer((self.lanes,), self.dot.accum) for _ in range(OUTPUTS**2 * columns)
        ]
        for c in range(columns):
            places = [first + (point * size + c) * self.lanes for point in range(POINTS)]
            loaded = [T.Bind(vector(sums, place, self.lanes)) for place in places]
            square = [loaded[start : start + INPUTS] for start in range(0, POINTS, INPUTS)]
            outputs = winograd.transform_output(square, self.dot.accum)
            for pixel, y in enumerate(y for line in outputs for y in line):
                store(registers[pixel * columns + c], y, 0, self.lanes)
        return registers

    def _leave(
        self, registers: Sequence[Buffer], square: Expr, channel: Expr, columns: int
    ) -> None:
        _, oh, ow, _ = self.squares.workload.output_shape
        image, line, column = self.squares.place(square)
        y, x = T.Bind(line * OUTPUTS), T.Bind(column * OUTPUTS)
        start = T.Bind((image * oh + y) * ow + x)
        if self.squares.are_whole:
            tile = Tile(OUTPUTS**2, columns, self.lanes, self.lanes)
            leave(registers, self._target(start), tile, channel)
            return
        for pixel in range(OUTPUTS**2):
            i, j = divmod(pixel, OUTPUTS)
            with T.If(tir.all(y + i < oh, x + j < ow)), T.Then():
                chunk = registers[pixel * columns : (pixel + 1) * columns]
                target = self._target(T.Bind(start + i * ow + j))
                leave(chunk, target, Tile(1, columns, self.lanes, self.lanes), channel)

    def _target(self, start: Expr) -> Target:
        """Pixels of a square, row by row, the first at ``start``."""
        shape = self.squares.workload.output_shape

        def pixel(number: Expr) -> Expr:
            return start + number // OUTPUTS * shape[2] + number % OUTPUTS

        def load(number: int, row: Expr, channel: Expr, lanes: int) -> Expr:
            operand = self.epilogue.operands[number]
            return load_operand(
                self.operands[number], operand, shape, pixel(row), channel, lanes
            )

        def write(value: Expr, row: Expr, channel: Expr, count: int) -> None:
            store(self.output, value, pixel(row) * shape[-1] + channel, count)

        return Target(self.epilogue, load, write)
