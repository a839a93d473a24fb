"""Depthwise convolution of 8-bit codes with dot instructions, channels in the lanes.

    out[n, y, x, c] = epilogue(sum_{ky, kx} pad(a)[n, y*s + ky*d, x*s + kx*d, c] * w[ky, kx, c])

A dot instruction adds ``depth`` neighbours of a lane; here they are ``depth`` rows of the image
at one column. A task interleaves a band of rows into words in scratch memory (padding included)
and then computes several output rows from it: output row r multiplies the same words with its
weights moved down by r * s rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import flat, load_operand, store, vector
from hago.codegen.band import (
    BLOCK,
    Band,
    band_of,
    choose_band,
    fill_words,
    most_outputs,
    word_scratch,
)
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.dot import Dot
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.kernels.spread import STEP
from hago.codegen.leave import Target, Tile, leave
from hago.codegen.select import choose_dot
from hago.codegen.tile import tile_pixels
from hago.codegen.workload import Array, Conv2d, Kernel, Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
# Parts of the machine's registers that may be accumulators, the usual one first; the others hold
# words and temporaries.
_ACCUMULATORS = (0.5, 0.25, 0.75)
_BLOCKS = (BLOCK, 2 * BLOCK)
_WORDS = 8 << 10  # bytes of a band that stay in the first-level cache beside weights and results


@dataclass(frozen=True)
class BandTile:
    """A band gives ``outputs`` rows of ``block`` channels; a tile of it is as many rows of
    ``pixels`` of one vector of channels."""

    outputs: int
    pixels: int
    block: int

    def __str__(self) -> str:
        return f"{self.outputs}x{self.pixels}, blocks of {self.block}"


def band_tiles(workload: Conv2d, machine: Machine) -> tuple[BandTile, ...]:
    """What :func:`build_depthwise_int8` may be asked for, its own choice first."""
    width = workload.output_shape[2]
    band = choose_band(workload, choose_dot(workload, machine), machine.lanes)
    usual = band.outputs
    others = [count for count in range(1, most_outputs(workload) + 1) if count != usual]
    blocks = _BLOCKS if workload.ci > BLOCK else _BLOCKS[:1]
    if band.groups * band.width * 4 * _BLOCKS[-1] <= _WORDS:  # short rows: larger tasks
        blocks = blocks[::-1]
    found = [
        BandTile(outputs, tile_pixels(width, int(machine.registers * part) // outputs), block)
        for outputs in (usual, *others)
        for part in _ACCUMULATORS
        for block in blocks
    ]
    return tuple(dict.fromkeys(found))


def build_depthwise_int8(
    workload: Conv2d, epilogue: Epilogue, machine: Machine, tile: BandTile | None = None
) -> Kernel:
    """``func(data [n,h,w,c], packed weights, *operands, output [n,oh,ow,c])``."""
    dot, lanes = choose_dot(workload, machine), machine.lanes
    tile = tile or band_tiles(workload, machine)[0]
    band = band_of(workload, dot, tile.outputs, tile.block)
    types = [
        ((workload.n, workload.h, workload.w, workload.ci), workload.data),
        (packed_shape(workload, band, dot, lanes), dot.weight),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("depthwise_conv2d_int8") as builder:
        data, weight, *operands, output = arguments("data weight", types)
        emitter = _Emitter(
            workload, band, dot, lanes, tile.pixels, epilogue, flat(data),
            flat(weight), [flat(operand) for operand in operands], flat(output),
        )  # fmt: skip
        emitter.emit()

    def pack_weight(weights: Array) -> Array:
        return pack(weights, workload, band, dot, lanes)

    function = builder.get().with_attr(STEP, str(band.step))
    return Kernel(function, pack_weight, "depthwise_conv2d_int8")


def packed_shape(workload: Conv2d, band: Band, dot: Dot, lanes: int) -> tuple[int, ...]:
    vectors = -(-workload.ci // lanes)
    return (vectors, band.outputs, band.groups, workload.kw, lanes, dot.depth)


def pack(weights: Array, workload: Conv2d, band: Band, dot: Dot, lanes: int) -> Array:
    """``[c, kh, kw, 1]`` -> ``[vectors, output row, group, kw, lanes, depth]``, zeros between."""
    shape = packed_shape(workload, band, dot, lanes)
    rows = band.groups * dot.depth
    padded = np.zeros((shape[0] * lanes, band.outputs, rows, workload.kw), dot.weight)
    for output in range(band.outputs):
        first = output * band.step
        padded[: workload.ci, output, first : first + workload.kh] = weights[..., 0]
    split = padded.reshape(shape[0], lanes, band.outputs, band.groups, dot.depth, workload.kw)
    return np.ascontiguousarray(split.transpose(0, 2, 3, 5, 1, 4))


@dataclass(frozen=True, eq=False)
class _Emitter:
    workload: Conv2d
    band: Band
    dot: Dot
    lanes: int
    pixels: int
    epilogue: Epilogue
    data: Buffer
    weight: Buffer
    operands: Sequence[Buffer]
    output: Buffer

    def emit(self) -> None:
        """A task is a band of one image and a block of channels."""
        n, oh, _, channels = self.workload.output_shape
        bands, block = -(-oh // self.band.outputs), self.band.block
        blocks = -(-channels // block)
        with T.parallel(0, n * bands * blocks) as task:
            image = T.Bind(tir.floordiv(task, bands * blocks))
            row = T.Bind(tir.floormod(tir.floordiv(task, blocks), bands) * self.band.outputs)
            number = T.Bind(tir.floormod(task, blocks))
            self._task(image, row, number)

    def _either(self, is_whole: Expr, rest: int, body: Callable[[int], None], whole: int) -> None:
        """``body(whole)``, or ``body(rest)`` in the last piece."""
        if rest == 0:
            body(whole)
            return
        with T.If(is_whole):
            with T.Then():
                body(whole)
            with T.Else():
                body(rest)

    def _task(self, image: Expr, row: Expr, number: Expr) -> None:
        """The words of block ``number`` of the channels, then its vectors."""
        oh, channels, outputs = self.workload.output_shape[1], self.workload.ci, self.band.outputs
        block = min(self.band.block, channels)
        first = T.Bind(number * self.band.block)
        words = word_scratch(self.band, self.lanes, block)
        self._either(
            number < channels // block, channels % block,
            lambda count: fill_words(
                self.workload, self.band, self.dot, self.lanes, self.data, words,
                image, row, first, count,
            ), block,
        )  # fmt: skip
        self._either(
            row + outputs <= oh, oh % outputs,
            lambda rows: self._vectors(words, image, row, first, rows), outputs,
        )  # fmt: skip

    def _vectors(self, words: Buffer, image: Expr, row: Expr, first: Expr, rows: int) -> None:
        lanes, channels = self.lanes, self.workload.ci
        whole = T.Bind(tir.floordiv(tir.min(channels - first, self.band.block), lanes))
        if channels >= lanes:
            with T.serial(0, whole) as number:
                self._row(words, image, row, first, number, lanes, rows)
        if channels % lanes == 0:
            return
        with T.If(first + self.band.block >= channels), T.Then():
            self._row(words, image, row, first, whole, channels % lanes, rows)

    def _row(
        self,
        words: Buffer,
        image: Expr,
        row: Expr,
        first: Expr,
        number: Expr,
        width: int,
        rows: int,
    ) -> None:
        """All columns of one vector of channels, of which ``width`` are valid."""
        _, oh, ow, _ = self.workload.output_shape
        pixels = self.pixels
        channel = T.Bind(first + number * self.lanes)
        pixel = T.Bind((image * oh + row) * ow)

        def tile(column: Expr, size: int) -> None:
            registers = self._accumulate(words, number, channel, column, rows, size)
            target = self._target(T.Bind(pixel + column), size)
            leave(registers, target, Tile(len(registers), 1, self.lanes, width), channel)

        with T.serial(0, ow // pixels) as index:
            tile(T.Bind(index * pixels), pixels)
        if ow % pixels:
            tile(tir.const(ow // pixels * pixels, "int32"), ow % pixels)

    def _accumulate(
        self, words: Buffer, number: Expr, channel: Expr, column: Expr, rows: int, pixels: int
    ) -> list[Buffer]:
        """``rows`` x ``pixels`` accumulators, the pixels of a row together."""
        workload, band, lanes, dot = self.workload, self.band, self.lanes, self.dot
        stride, dilation = workload.strides[1], workload.dilation[1]
        registers = [T.alloc_buffer((lanes,), dot.accum) for _ in range(rows * pixels)]
        for register in registers:
            store(register, tir.Broadcast(tir.const(0, dot.accum), lanes), 0, lanes)
        vector_of_weights = T.Bind(tir.floordiv(channel, lanes))
        for group in range(band.groups):
            line = T.Bind(((number * band.groups + group) * band.width + column * stride) * lanes)
            for x in range((pixels - 1) * stride + (workload.kw - 1) * dilation + 1):
                uses = [
                    (output, pixel, kx)
                    for output in range(rows) if band.reads(output, group, dot.depth)
                    for pixel in range(pixels)
                    for kx in range(workload.kw)
                    if pixel * stride + kx * dilation == x
                ]  # fmt: skip
                if not uses:
                    continue
                word = T.Bind(vector(words, line + x * lanes, lanes))
                for output, pixel, kx in uses:
                    place = (vector_of_weights * band.outputs + output) * band.groups + group
                    b = self._weights(place * workload.kw + kx)
                    register = registers[output * pixels + pixel]
                    total = dot.multiply(vector(register, 0, lanes), word, b, lanes)
                    store(register, total, 0, lanes)
        return registers

    def _weights(self, index: Expr) -> Expr:
        size = self.lanes * self.dot.depth
        return vector(self.weight, index * size, size)

    def _target(self, first: Expr, pixels: int) -> Target:
        """The pixels of a tile, ``pixels`` in each of its output rows, from ``first``."""
        shape = self.workload.output_shape

        def pixel(row: Expr) -> Expr:
            return first + tir.floordiv(row, pixels) * shape[2] + tir.floormod(row, pixels)

        def load(number: int, row: Expr, channel: Expr, count: int) -> Expr:
            operand = self.epilogue.operands[number]
            return load_operand(self.operands[number], operand, shape, pixel(row), channel, count)

        def write(value: Expr, row: Expr, channel: Expr, count: int) -> None:
            store(self.output, value, pixel(row) * shape[3] + channel, count)

        return Target(self.epilogue, load, write)
