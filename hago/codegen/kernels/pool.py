"""Pooling over windows of NHWC images, channels in the lanes.

    out[n, y, x, c] = epilogue(max or sum over the window of a[n, y*s + ky, x*s + kx, c])

What lies outside the image does not take part: it is never the maximum and adds nothing.
"""

from __future__ import annotations

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

        def pixel(row: Expr, column: Expr, channel: Expr, count: int) -> None:
            total = _reduce(workload, data, row, column, channel, count)
            position = T.Bind(row * shape[2] + column)

            def load(i: int) -> Expr:
                operand = epilogue.operands[i]
                return load_operand(operands[i], operand, shape, position, channel, count)

            store(output, epilogue.emit(total, load), position * c + channel, count)

        with T.parallel(0, n * shape[1]) as row, T.serial(0, shape[2]) as column:
            if c >= lanes:
                with T.serial(0, c // lanes) as block:
                    pixel(row, column, T.Bind(block * lanes), lanes)
            done = c // lanes * lanes
            for offset, count in pieces(c % lanes):
                pixel(row, column, tir.const(done + offset, "int32"), count)
    return Kernel(builder.get(), None, f"{workload.kind}_pool2d")


def _reduce(
    workload: Pool2d, data: Buffer, row: Expr, column: Expr, channel: Expr, count: int
) -> Expr:
    """Maximum or sum of the window, in the accumulator's dtype."""
    oh, accum = workload.output_shape[1], workload.accum
    top, left = workload.padding[:2]
    total = T.alloc_buffer((count,), accum)
    start = tir.const(_identity(workload), accum)
    store(total, tir.Broadcast(start, count) if count > 1 else start, 0, count)
    first_y = T.Bind(tir.floormod(row, oh) * workload.strides[0] - top)
    first_x = T.Bind(column * workload.strides[1] - left)
    image = T.Bind(tir.floordiv(row, oh) * workload.h)
    with T.serial(0, workload.window[0]) as ky, T.serial(0, workload.window[1]) as kx:
        y, x = T.Bind(first_y + ky), T.Bind(first_x + kx)

        def take() -> None:
            index = ((image + y) * workload.w + x) * workload.c + channel
            value = v.loaded(vector(data, index, count), workload.data, accum)
            so_far = vector(total, 0, count)
            joined = tir.max(so_far, value) if workload.kind == "max" else so_far + value
            store(total, joined, 0, count)

        if not any(workload.padding):
            take()
        else:
            inside = tir.all(y >= 0, y < workload.h, x >= 0, x < workload.w)
            with T.If(inside), T.Then():
                take()
    return vector(total, 0, count)


def _identity(workload: Pool2d) -> float | int:
    if workload.kind != "max":
        return 0
    if workload.accum == "float32":
        return float(np.finfo(np.float32).min)
    return int(np.iinfo(workload.accum).min)
