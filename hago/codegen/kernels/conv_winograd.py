"""3x3 convolution of stride 1 as 16 products whose rows are squares of 2x2 outputs, or as 36 whose
rows are squares of 4x4.

    sums[p, square, co] = sum_ci (B' x B)[p, square, ci] * (G w G')[p, co, ci]
    out[pixels of the square, co] = epilogue((A' sums A)[square, co])

Squares are taken in bands whose transformed inputs stay in the second-level cache; the sums of a
tile stay in the first, and those of 4x4 outputs, which are more than twice as many, near it. See
hago/codegen/winograd.py for the transforms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import divided, flat, load_operand, store, vector
from hago.codegen.blocking import Blocking, Extents, blockings
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.dot import WRAPPING, Dot
from hago.codegen.kernels.product import arguments, cut, defined, kernel, pack
from hago.codegen.leave import Target, Tile, leave_held, leave_row
from hago.codegen.select import choose_dot
from hago.codegen.squares import Inputs, Squares, elements, scratch
from hago.codegen.stream import Stream, plan_stream, stream_from
from hago.codegen.tile import Source, accumulate
from hago.codegen.winograd import FOUR, TWO, Transform
from hago.codegen.workload import Array, Conv2d, Kernel, Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_BAND = 1 << 20  # bytes of transformed inputs that stay in the second-level cache
# What multiplies transformed bytes, by what multiplies plain ones.
_WORDS = {"vpdpbusd": "vpdpbusd", "vpmaddubsw": "vpmaddwd", "vpmaddwd": "vpmaddwd"}


@dataclass(frozen=True)
class WinogradTile:
    """A tile is ``rows`` squares by ``columns`` vectors of channels; the inputs of ``band`` tiles
    of rows are transformed before all columns are multiplied by them."""

    transform: Transform
    rows: int
    columns: int
    band: int

    def __str__(self) -> str:
        return f"{self.transform} {self.rows}x{self.columns}, bands of {self.band}"


def transforms(workload: Conv2d, machine: Machine) -> tuple[Transform, ...]:
    """With what :func:`build_conv_winograd` takes the convolution: nothing is lost, and channels
    fill vectors. Floats would lose digits by F(4x4)."""
    window = (workload.kh, workload.kw, *workload.strides, *workload.dilation, workload.groups)
    if window != (3, 3, 1, 1, 1, 1, 1) or workload.data == "bfloat16":
        return ()
    dot = transformed_dot(workload, machine)
    if dot is None or workload.ci % elements(dot, machine) or workload.co % machine.lanes:
        return ()
    offered = (TWO,) if dot.accum == "float32" else (FOUR, TWO)
    types = workload.data, workload.weight
    return tuple(each for each in offered if each.stays_exact(*types, workload.ci))


def transformed_dot(workload: Conv2d, machine: Machine) -> Dot | None:
    """What multiplies transformed operands of the workload."""
    direct = choose_dot(workload, machine)
    if direct.name == "vfmadd":
        return direct
    name = _WORDS.get(direct.name)
    return WRAPPING[name] if name in machine.instructions else None


def winograd_tiles(
    workload: Conv2d, machine: Machine, transform: Transform
) -> tuple[WinogradTile, ...]:
    """What :func:`build_conv_winograd` may be asked for, the best by a static model first."""
    dot = _dot(workload, machine)
    extents = Squares.of(workload, transform).extents(dot, machine.lanes)
    tiles = [_tile(transform, each, extents) for each in blockings(extents, dot, machine)]
    whole = [replace(each, band=-(-extents.width // each.rows)) for each in tiles]
    return tuple(dict.fromkeys([*tiles, *whole]))


def build_conv_winograd(
    workload: Conv2d, epilogue: Epilogue, machine: Machine, tile: WinogradTile
) -> Kernel:
    """``func(data [n,h,w,ci], transformed weights, *operands, output [n,oh,ow,co])``."""
    transform, dot, lanes = tile.transform, _dot(workload, machine), machine.lanes
    squares = Squares.of(workload, transform)
    extents = squares.extents(dot, lanes)
    types = [
        ((workload.n, workload.h, workload.w, workload.ci), workload.data),
        ((1, extents.vectors, transform.points * extents.steps, lanes, dot.depth), dot.weight),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("conv2d") as builder:
        data, weight, *operands, output = arguments("data weight", types)
        target = scratch(tile.band, tile.rows, squares, dot.data)
        inputs = Inputs(squares, flat(data), target, dot.data, elements(dot, machine))
        emitter = _Emitter(
            squares, tile, dot, extents, lanes, epilogue, inputs, flat(weight),
            [flat(operand) for operand in operands], flat(output),
        )  # fmt: skip
        with defined(dot):
            emitter.emit()

    def pack_weight(weight: Array) -> Array:
        return pack(transform.of_weight(weight, dot.weight), dot, lanes)

    return Kernel(builder.get(), pack_weight, "conv2d")


def _dot(workload: Conv2d, machine: Machine) -> Dot:
    dot = transformed_dot(workload, machine)
    assert dot is not None, workload
    return dot


def _tile(transform: Transform, blocking: Blocking, extents: Extents) -> WinogradTile:
    """``blocking`` with bands of about the same size that stay in the cache."""
    tiles = -(-extents.width // blocking.rows)
    bands = -(-extents.data_bytes * transform.points // _BAND)
    return WinogradTile(transform, blocking.rows, blocking.columns, -(-tiles // bands))


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

    @property
    def points(self) -> int:
        return self.tile.transform.points

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
            start = T.Bind((place * (self.points * rows) + square) * ci)
            self.inputs.transform(T.Bind(first + square), start, rows * ci)

    def _rows(self, row: Expr, place: Expr, column: Expr) -> None:
        def columns(rows: int) -> None:
            cut(column, self.extents.vectors, self.tile.columns,
                lambda columns: self._tile(row, place, column, rows, columns))  # fmt: skip

        cut(row, self.extents.width, self.tile.rows, columns)

    def _tile(self, row: Expr, place: Expr, column: Expr, rows: int, columns: int) -> None:
        """The sums of a tile, point by point, then its outputs."""
        lanes, size = self.lanes, rows * columns
        sums = T.alloc_buffer((self.points * size * lanes,), self.dot.accum)
        outputs = T.alloc_buffer((self.tile.transform.outputs**2 * lanes,), self.dot.accum)
        with T.serial(0, self.points) as point:
            source = self._source(place, column, point)
            registers = accumulate(source, self.dot, rows, columns, lanes)
            for number, register in enumerate(registers):
                store(sums, vector(register, 0, lanes), (point * size + number) * lanes, lanes)
        with T.serial(0, size) as number:
            square, place = divided(number, columns)
            self._outputs(sums, T.Bind(number * lanes), size, outputs)
            channel = T.Bind((column * self.tile.columns + place) * lanes)
            self._leave(outputs, T.Bind(row * self.tile.rows + square), channel)

    def _source(self, place: Expr, column: Expr, point: Expr) -> Source:
        ci, steps, size = self.squares.workload.ci, self.extents.steps, self.lanes * self.dot.depth
        base = T.Bind((place * self.points + point) * (self.tile.rows * ci))

        def weight(c: int, step: Expr) -> Expr:
            line = (column * self.tile.columns + c) * self.points + point
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
        before = (place * self.points + point) * plan.ahead(steps)
        first = T.Bind((column + 1) * (columns * self.points * steps) + before)
        last = self.extents.vectors * self.points * steps - 1
        return stream_from(
            first, last, plan, lambda number: tir.address_of(self.weight[number * size])
        )

    def _outputs(self, sums: Buffer, first: Expr, size: int, outputs: Buffer) -> None:
        """A vector of each pixel of the square whose sums lie behind ``first``."""
        transform, lanes = self.tile.transform, self.lanes
        places = [first + point * size * lanes for point in range(self.points)]
        loaded = [T.Bind(vector(sums, place, lanes)) for place in places]
        starts = range(0, self.points, transform.inputs)
        square = [loaded[start : start + transform.inputs] for start in starts]
        for pixel, y in enumerate(y for line in transform.of_sums(square) for y in line):
            store(outputs, y, pixel * lanes, lanes)

    def _leave(self, outputs: Buffer, square: Expr, channel: Expr) -> None:
        _, oh, ow, _ = self.squares.workload.output_shape
        size = self.tile.transform.outputs
        image, line, column = self.squares.place(square)
        y, x = T.Bind(line * size), T.Bind(column * size)
        target = self._target(T.Bind((image * oh + y) * ow + x))
        tile = Tile(size**2, 1, self.lanes, self.lanes)
        if self.squares.are_whole:
            leave_held(outputs, target, tile, channel)
            return
        with T.If(tir.all(y + size <= oh, x + size <= ow)):
            with T.Then():
                leave_held(outputs, target, tile, channel)
            with T.Else():
                rows, columns = tir.min(size, oh - y), tir.min(size, ow - x)
                with T.serial(0, rows) as i, T.serial(0, columns) as j:
                    leave_row(outputs, target, tile, channel, T.Bind(i * size + j))

    def _target(self, start: Expr) -> Target:
        """Pixels of a square, row by row, the first at ``start``."""
        shape, size = self.squares.workload.output_shape, self.tile.transform.outputs

        def pixel(number: Expr) -> Expr:
            return start + number // size * shape[2] + number % size

        def load(number: int, row: Expr, channel: Expr, lanes: int) -> Expr:
            operand = self.epilogue.operands[number]
            return load_operand(
                self.operands[number], operand, shape, pixel(row), channel, lanes
            )

        def write(value: Expr, row: Expr, channel: Expr, count: int) -> None:
            store(self.output, value, pixel(row) * shape[-1] + channel, count)

        return Target(self.epilogue, load, write)
