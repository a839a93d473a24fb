"""Depthwise convolution: one input channel an output channel, channels in the lanes.

    out[n, y, x, c] = epilogue(sum_{ky, kx} pad(a)[n, y*s + ky*d, x*s + kx*d, c] * w[ky, kx, c])

A tile is a run of output pixels and one vector of channels; each loaded input vector serves all
taps of its column that fall into the tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import flat, load_operand, store, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.conv import Image, copy_image
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.tile import pieces
from hago.codegen.workload import Array, Conv2d, Kernel, Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_MOST_PIXELS = 8


def build_depthwise(workload: Conv2d, epilogue: Epilogue, machine: Machine) -> Kernel:
    """``func(data [n,h,w,c], weights [kh,kw,c], *operands, output [n,oh,ow,c])``."""
    top, left, bottom, right = workload.padding
    image = Image(workload.h + top + bottom, workload.w + left + right, 0, any(workload.padding))
    packed = "float32" if workload.accum == "float32" else "int32"
    types = [
        ((workload.n, workload.h, workload.w, workload.ci), workload.data),
        ((workload.kh, workload.kw, workload.ci), packed),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("depthwise_conv2d") as builder:
        data, weight, *operands, output = arguments("data weight", types)
        source = flat(data)
        if image.is_copy:
            source = copy_image(workload, image, source, v.storage(workload.data))
        emitter = _Emitter(
            workload, image, epilogue, machine.lanes, source, flat(weight),
            [flat(operand) for operand in operands], flat(output),
        )  # fmt: skip
        emitter.emit()

    def pack_weight(weights: Array) -> Array:
        return np.ascontiguousarray(weights[..., 0].transpose(1, 2, 0).astype(packed))

    return Kernel(builder.get(), pack_weight, "depthwise_conv2d")


@dataclass(frozen=True, eq=False)
class _Emitter:
    workload: Conv2d
    image: Image
    epilogue: Epilogue
    lanes: int
    data: Buffer
    weight: Buffer
    operands: Sequence[Buffer]
    output: Buffer

    def emit(self) -> None:
        n, oh, ow, channels = self.workload.output_shape
        pixels = _pixels(ow, self.lanes)
        tiles = -(-ow // pixels)
        with T.parallel(0, n * oh) as row:
            base = T.Bind(
                tir.floordiv(row, oh) * self.image.h
                + tir.floormod(row, oh) * self.workload.strides[0]
            )
            with T.serial(0, channels // self.lanes) as block:
                self._row(row, base, T.Bind(block * self.lanes), self.lanes, pixels, tiles)
            done = channels // self.lanes * self.lanes
            for offset, count in pieces(channels % self.lanes):
                self._row(row, base, tir.const(done + offset, "int32"), count, pixels, tiles)

    def _row(
        self, row: Expr, base: Expr, channel: Expr, count: int, pixels: int, tiles: int
    ) -> None:
        ow = self.workload.output_shape[2]
        with T.serial(0, ow // pixels) as tile:
            self._tile(row, base, T.Bind(tile * pixels), channel, count, pixels)
        if ow % pixels:
            first = tir.const(ow // pixels * pixels, "int32")
            self._tile(row, base, first, channel, count, ow % pixels)

    def _tile(
        self, row: Expr, base: Expr, first: Expr, channel: Expr, count: int, pixels: int
    ) -> None:
        workload, accum = self.workload, self.workload.accum
        zero = tir.const(0, accum)
        registers = [T.alloc_buffer((count,), accum) for _ in range(pixels)]
        for register in registers:
            store(register, tir.Broadcast(zero, count) if count > 1 else zero, 0, count)
        stride, dilation = workload.strides[1], workload.dilation[1]
        with T.serial(0, workload.kh) as ky:
            line = T.Bind(
                ((base + ky * workload.dilation[0]) * self.image.w + first * stride) * workload.ci
                + channel
            )
            weights = [
                T.Bind(vector(self.weight, (ky * workload.kw + kx) * workload.ci + channel, count))
                for kx in range(workload.kw)
            ]
            for x in range((pixels - 1) * stride + (workload.kw - 1) * dilation + 1):
                uses = [
                    (p, kx)
                    for p in range(pixels)
                    for kx in range(workload.kw)
                    if p * stride + kx * dilation == x
                ]
                if not uses:
                    continue
                loaded = vector(self.data, line + x * workload.ci, count)
                value = T.Bind(v.loaded(loaded, workload.data, accum))
                for p, kx in uses:
                    total = vector(registers[p], 0, count) + value * weights[kx]
                    store(registers[p], total, 0, count)
        self._leave(registers, row, first, channel, count)

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


def _pixels(width: int, lanes: int) -> int:
    """Output pixels of a tile: few enough for registers, dividing the row if possible."""
    most = _MOST_PIXELS if lanes == 16 else _MOST_PIXELS // 2
    return max(range(1, min(most, width) + 1), key=lambda p: (p - (width % p > 0) * p // 2, p))
