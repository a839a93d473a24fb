"""Depthwise convolution: one input channel an output channel, channels in the lanes.

    out[n, y, x, c] = epilogue(sum_{ky, kx} pad(a)[n, y*s + ky*d, x*s + kx*d, c] * w[ky, kx, c])

A tile is a run of output pixels and one vector of channels; each loaded input vector serves all
taps of its column that fall into the tile. Zeros around the image are never read: taps in rows
outside are left out by the loop's bounds, taps in columns outside by the code of border tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import flat, load_operand, store, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.conv import Image, copy_image
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.tile import pieces, tile_pixels
from hago.codegen.workload import Array, Conv2d, Kernel, Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_MOST_PIXELS = 8
_WIDENING = "smlal"  # multiplies 16 bits: twice as many channels in a register
_KEPT_WEIGHTS = 4096  # that stay in the first-level cache from tile to tile


@dataclass(frozen=True)
class RowTile:
    """A tile is ``pixels`` of a row and one vector of channels; tiles go along the row first, or
    (``channels_first``) along the channels."""

    pixels: int
    channels_first: bool

    def __str__(self) -> str:
        return f"1x{self.pixels}, {'channels' if self.channels_first else 'row'} first"


def row_tiles(workload: Conv2d, machine: Machine) -> tuple[RowTile, ...]:
    """What :func:`build_depthwise` may be asked for, its own choice first."""
    width = workload.output_shape[2]
    is_kept = math.prod((workload.kh, workload.kw, workload.ci)) <= _KEPT_WEIGHTS
    most = _MOST_PIXELS if _packing(workload, machine)[1] == 16 else _MOST_PIXELS // 2
    usual = RowTile(tile_pixels(width, most), is_kept)
    sizes = {tile_pixels(width, count): None for count in range(2, 2 * most + 1)}
    others = [RowTile(pixels, first) for pixels in sizes for first in (True, False)]
    return tuple(dict.fromkeys((usual, *others)))


def _packing(workload: Conv2d, machine: Machine) -> tuple[str, int]:
    """The dtype of packed weights and the channels of a vector."""
    if workload.accum == "float32":
        return "float32", machine.lanes
    if _WIDENING in machine.instructions:
        return "int16", 2 * machine.lanes
    return "int32", machine.lanes


def build_depthwise(
    workload: Conv2d, epilogue: Epilogue, machine: Machine, tile: RowTile | None = None
) -> Kernel:
    """``func(data [n,h,w,c], weights [kh,kw,c], *operands, output [n,oh,ow,c])``."""
    packed, lanes = _packing(workload, machine)
    tile = tile or row_tiles(workload, machine)[0]
    types = [
        ((workload.n, workload.h, workload.w, workload.ci), workload.data),
        ((workload.kh, workload.kw, workload.ci), packed),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("depthwise_conv2d") as builder:
        data, weight, *operands, output = arguments("data weight", types)
        inner, source = _without_codes_around(workload, flat(data))
        emitter = _Emitter(
            inner, tile, epilogue, lanes, source, flat(weight),
            [flat(operand) for operand in operands], flat(output),
        )  # fmt: skip
        emitter.emit()

    def pack_weight(weights: Array) -> Array:
        return np.ascontiguousarray(weights[..., 0].transpose(1, 2, 0).astype(packed))

    return Kernel(builder.get(), pack_weight, "depthwise_conv2d")


def _without_codes_around(workload: Conv2d, data: Buffer) -> tuple[Conv2d, Buffer]:
    """The same convolution of a padded copy, where the image is padded with other codes than 0."""
    if not any(workload.padding) or workload.pad_code == 0:
        return workload, data
    top, left, bottom, right = workload.padding
    image = Image(workload.h + top + bottom, workload.w + left + right, 0, is_copy=True)
    copy = copy_image(workload, image, data, v.storage(workload.data))
    return replace(workload, h=image.h, w=image.w, padding=(0, 0, 0, 0)), copy


@dataclass(frozen=True, eq=False)
class _Place:
    """Output row ``row``: its taps start at image row ``base`` (of all images), those from
    ``first_tap`` to ``last_tap`` are inside of the image."""

    row: Expr
    base: Expr
    first_tap: Expr
    last_tap: Expr


@dataclass(frozen=True, eq=False)
class _Tile:
    """``pixels`` outputs from ``first`` on; ``columns`` of the window are in the image and used."""

    first: Expr
    pixels: int
    columns: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Emitter:
    workload: Conv2d
    tile: RowTile
    epilogue: Epilogue
    lanes: int
    data: Buffer
    weight: Buffer
    operands: Sequence[Buffer]
    output: Buffer

    def emit(self) -> None:
        workload = self.workload
        n, oh, _, _ = workload.output_shape
        with T.parallel(0, n * oh) as row:
            y = T.Bind(tir.floormod(row, oh) * workload.strides[0] - workload.padding[0])
            base = T.Bind(tir.floordiv(row, oh) * workload.h + y)
            place = _Place(row, base, *self._taps(y))
            if self.tile.channels_first:
                self._each_tile(
                    lambda t: self._each_vector(lambda c, n: self._tile(place, t, c, n))
                )
            else:
                self._each_vector(
                    lambda c, n: self._each_tile(lambda t: self._tile(place, t, c, n))
                )

    def _taps(self, y: Expr) -> tuple[Expr, Expr]:
        """The first and the last (exclusive) kernel row inside of the image, from row ``y`` on."""
        kh, h, step = self.workload.kh, self.workload.h, self.workload.dilation[0]
        zero = tir.const(0, "int32")
        top, bottom = self.workload.padding[0], self.workload.padding[2]
        first = tir.max(zero, tir.floordiv(step - 1 - y, step)) if top else zero
        last = tir.min(tir.const(kh, "int32"), tir.floordiv(h - y + step - 1, step))
        return T.Bind(first), T.Bind(last) if bottom else tir.const(kh, "int32")

    def _each_vector(self, body: Callable[[Expr, int], None]) -> None:
        """``body(first channel, lanes)``."""
        channels, lanes = self.workload.ci, self.lanes
        with T.serial(0, channels // lanes) as block:
            body(T.Bind(block * lanes), lanes)
        done = channels // lanes * lanes
        for offset, count in pieces(channels % lanes):
            body(tir.const(done + offset, "int32"), count)

    def _each_tile(self, body: Callable[[_Tile], None]) -> None:
        """Tiles inside of the image in a loop, those at its border one by one."""
        for first, count, pixels, columns in _tile_runs(self.workload, self.tile.pixels):
            if count == 1:
                body(_Tile(tir.const(first, "int32"), pixels, columns))
                continue
            with T.serial(0, count) as tile:
                body(_Tile(T.Bind(first + tile * pixels), pixels, columns))

    def _tile(self, place: _Place, tile: _Tile, channel: Expr, count: int) -> None:
        workload, accum = self.workload, self.workload.accum
        zero = tir.const(0, accum)
        registers = [T.alloc_buffer((count,), accum) for _ in range(tile.pixels)]
        for register in registers:
            store(register, tir.Broadcast(zero, count) if count > 1 else zero, 0, count)
        left = T.Bind(tile.first * workload.strides[1] - workload.padding[1])
        with T.serial(place.first_tap, place.last_tap) as ky:
            y = place.base + ky * workload.dilation[0]
            line = T.Bind((y * workload.w + left) * workload.ci + channel)
            weights = [
                T.Bind(vector(self.weight, (ky * workload.kw + kx) * workload.ci + channel, count))
                for kx in range(workload.kw)
            ]
            for x in tile.columns:
                loaded = vector(self.data, line + x * workload.ci, count)
                value = T.Bind(v.loaded(loaded, workload.data, str(self.weight.dtype)))
                for p, kx in _uses(workload, tile.pixels, x):
                    product = v.cast(value, accum) * v.cast(weights[kx], accum)
                    total = vector(registers[p], 0, count) + product
                    store(registers[p], total, 0, count)
        self._leave(registers, place.row, tile.first, channel, count)

    def _leave(
        self, registers: Sequence[Buffer], row: Expr, first: Expr, channel: Expr, count: int
    ) -> None:
        shape = self.workload.output_shape
        for number, register in enumerate(registers):
            pixel = T.Bind(row * shape[2] + first + number)

            def load(i: int, pixel: Expr = pixel) -> Expr:
                operand = self.epilogue.operands[i]
                return load_operand(self.operands[i], operand, shape, pixel, channel, count)

            value = self.epilogue.emit(vector(register, 0, count), load)
            store(self.output, value, pixel * shape[3] + channel, count)


def _tile_runs(workload: Conv2d, size: int) -> list[tuple[int, int, int, tuple[int, ...]]]:
    """(first output, number of tiles, pixels, columns) of equal neighbours along a row."""
    width = workload.output_shape[2]
    tiles = [(first, min(size, width - first)) for first in range(0, width, size)]
    found: list[tuple[int, int, int, tuple[int, ...]]] = []
    for first, pixels in tiles:
        columns = _columns(workload, first, pixels)
        if found and found[-1][2:] == (pixels, columns):
            start, count, *_ = found.pop()
            found.append((start, count + 1, pixels, columns))
        else:
            found.append((first, 1, pixels, columns))
    return found


def _columns(workload: Conv2d, first: int, pixels: int) -> tuple[int, ...]:
    """The columns of a tile's window that are inside of the image and belong to a tap."""
    stride, dilation = workload.strides[1], workload.dilation[1]
    left = first * stride - workload.padding[1]
    span = (pixels - 1) * stride + (workload.kw - 1) * dilation + 1
    return tuple(
        x for x in range(span) if 0 <= left + x < workload.w and _uses(workload, pixels, x)
    )


def _uses(workload: Conv2d, pixels: int, column: int) -> list[tuple[int, int]]:
    """The (output pixel, tap) pairs of a tile that read a column of its window."""
    stride, dilation = workload.strides[1], workload.dilation[1]
    return [
        (p, kx)
        for p in range(pixels)
        for kx in range(workload.kw)
        if p * stride + kx * dilation == column
    ]
