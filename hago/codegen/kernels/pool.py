"""Pooling over windows of NHWC images, channels in the lanes.

    out[n, y, x, c] = epilogue(max or sum over the window of a[n, y*s + ky, x*s + kx, c])

What lies outside the image does not take part: it is never the maximum and adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import flat, load_operand, store, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.tile import pieces
from hago.codegen.workload import Kernel, Machine, Pool2d

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_TOGETHER = 4  # vectors of a pixel: one alone waits for its own sum


def build_pool(workload: Pool2d, epilogue: Epilogue, machine: Machine) -> Kernel:
    """``func(data [n,h,w,c], *operands, output [n,oh,ow,c])``."""
    n, h, w, c = workload.n, workload.h, workload.w, workload.c
    shape = workload.output_shape
    accum = workload.accum
    lanes = machine.vector_bytes // np.dtype(accum).itemsize
    types = [
        ((n, h, w, c), workload.data),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (shape, epilogue.dtype),
    ]
    with kernel(f"{workload.kind}_pool2d") as builder:
        data, *operands, output = [flat(b) for b in arguments("data", types)]

        def pixel(row: Expr, column: Expr, channel: Expr, counts: Sequence[int]) -> None:
            totals = _reduce(workload, data, row, column, channel, counts)
            position = T.Bind(row * shape[2] + column)
            for first, count, total in zip(_starts(channel, counts), counts, totals, strict=True):

                def load(i: int, first: Expr = first, count: int = count) -> Expr:
                    operand = epilogue.operands[i]
                    return load_operand(operands[i], operand, shape, position, first, count)

                store(output, epilogue.emit(total, load), position * c + first, count)

        with T.parallel(0, n * shape[1]) as row, T.serial(0, shape[2]) as column:
            done = 0
            for counts in ([lanes] * _TOGETHER, [lanes]):
                blocks = (c - done) // sum(counts)
                if blocks:
                    with T.serial(0, blocks) as block:
                        pixel(row, column, T.Bind(done + block * sum(counts)), counts)
                done += blocks * sum(counts)
            for offset, count in pieces(c - done):
                pixel(row, column, tir.const(done + offset, "int32"), [count])
    return Kernel(builder.get(), None, f"{workload.kind}_pool2d")


def _starts(channel: Expr, counts: Sequence[int]) -> list[Expr]:
    """The first channel of each of neighbouring vectors."""
    return [channel + sum(counts[:number]) for number in range(len(counts))]


def _reduce(
    workload: Pool2d, data: Buffer, row: Expr, column: Expr, channel: Expr, counts: Sequence[int]
) -> list[Expr]:
    """Maxima or sums of the window, in the accumulator's dtype."""
    oh, accum = workload.output_shape[1], workload.accum
    top, left = workload.padding[:2]
    totals = [T.alloc_buffer((count,), accum) for count in counts]
    start = tir.const(_identity(workload), accum)
    for count, total in zip(counts, totals, strict=True):
        store(total, tir.Broadcast(start, count) if count > 1 else start, 0, count)
    first_y = T.Bind(tir.floormod(row, oh) * workload.strides[0] - top)
    first_x = T.Bind(column * workload.strides[1] - left)
    image = T.Bind(tir.floordiv(row, oh) * workload.h)
    rows = _inside(first_y, workload.window[0], workload.h, any(workload.padding[::2]))
    columns = _inside(first_x, workload.window[1], workload.w, any(workload.padding[1::2]))
    with T.serial(*rows) as ky, T.serial(*columns) as kx:
        pixel = T.Bind(((image + first_y + ky) * workload.w + first_x + kx) * workload.c)
        for place, count, total in zip(_starts(channel, counts), counts, totals, strict=True):
            value = v.loaded(vector(data, pixel + place, count), workload.data, accum)
            so_far = vector(total, 0, count)
            joined = tir.max(so_far, value) if workload.kind == "max" else so_far + value
            store(total, joined, 0, count)
    return [vector(total, 0, count) for count, total in zip(counts, totals, strict=True)]


def _inside(first: Expr, window: int, length: int, is_padded: bool) -> tuple[Expr, Expr]:
    """The part of a window from ``first`` on that is inside of the image."""
    start, stop = tir.const(0, "int32"), tir.const(window, "int32")
    if not is_padded:
        return start, stop
    return T.Bind(tir.max(start, start - first)), T.Bind(tir.min(stop, length - first))


def _identity(workload: Pool2d) -> float | int:
    if workload.kind != "max":
        return 0
    if workload.accum == "float32":
        return float(np.finfo(np.float32).min)
    return int(np.iinfo(workload.accum).min)
