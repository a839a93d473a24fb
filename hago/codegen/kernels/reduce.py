"""Normalisations of rows: softmax and layer normalisation over the last axis, in float32.

    softmax:     out[r, i] = epilogue(exp(a[r, i] - max_j a[r, j]) / sum_j exp(a[r, j] - max))
    layer_norm:  out[r, i] = epilogue((a[r, i] - mean_r) / sqrt(var_r + eps) * gamma[i] + beta[i])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import flat, load_operand, store, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.tile import pieces
from hago.codegen.workload import Kernel, Machine, RowReduce

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
Body = Callable[[Expr, int], None]


def build_row_reduce(workload: RowReduce, epilogue: Epilogue, machine: Machine) -> Kernel:
    """``func(data [rows, length], [gamma, beta,] *operands, output [rows, length])``."""
    shape, lanes = (workload.rows, workload.length), machine.lanes
    affine = [((workload.length,), "float32")] * 2 if workload.kind == "layer_norm" else []
    types = [
        (shape, "float32"),
        *affine,
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (shape, epilogue.dtype),
    ]
    with kernel(workload.kind) as builder:
        data, *rest, output = [flat(b) for b in arguments("data", types)]
        operands = rest[len(affine) :]
        with T.parallel(0, workload.rows) as row:
            start = T.Bind(row * workload.length)

            def leave(value: Expr, channel: Expr, count: int) -> None:
                def load(i: int) -> Expr:
                    operand = epilogue.operands[i]
                    return load_operand(operands[i], operand, shape, row, channel, count)

                store(output, epilogue.emit(value, load), start + channel, count)

            body = _layer_norm if workload.kind == "layer_norm" else _softmax
            body(workload, lanes, data, rest[:2], start, leave)
    return Kernel(builder.get(), None, workload.kind)


def _softmax(
    workload: RowReduce, lanes: int, data: Buffer, _: list[Buffer], start: Expr, leave: Any
) -> None:
    length = workload.length
    lowest = float(np.finfo(np.float32).min)
    largest = _reduced(
        length, lanes, lowest, tir.max, lambda i, n: vector(data, start + i, n)
    )
    powers = T.alloc_buffer((length,), "float32")

    def power(i: Expr, count: int) -> Expr:
        shifted = vector(data, start + i, count) - _spread(largest, count)
        value = T.Bind(v.OPERATIONS["exp"].emit(shifted))
        store(powers, value, i, count)
        return value

    total = _reduced(length, lanes, 0.0, lambda a, b: a + b, power)
    factor = T.Bind(tir.const(1.0, "float32") / total)
    _each(length, lanes, lambda i, n: leave(vector(powers, i, n) * _spread(factor, n), i, n))


def _layer_norm(
    workload: RowReduce, lanes: int, data: Buffer, affine: list[Buffer], start: Expr, leave: Any
) -> None:
    length = workload.length
    share = tir.const(1.0 / length, "float32")

    def add(a: Expr, b: Expr) -> Expr:
        return a + b

    total = _reduced(length, lanes, 0.0, add, lambda i, n: vector(data, start + i, n))
    mean = T.Bind(total * share)

    def square(i: Expr, count: int) -> Expr:
        centred = T.Bind(vector(data, start + i, count) - _spread(mean, count))
        return centred * centred

    variance = _reduced(length, lanes, 0.0, add, square) * share
    epsilon = tir.const(workload.epsilon, "float32")
    factor = T.Bind(tir.const(1.0, "float32") / tir.sqrt(variance + epsilon))

    def normal(i: Expr, count: int) -> None:
        centred = vector(data, start + i, count) - _spread(mean, count)
        gamma, beta = (vector(buffer, i, count) for buffer in affine)
        leave(centred * _spread(factor, count) * gamma + beta, i, count)

    _each(length, lanes, normal)


def _spread(value: Expr, lanes: int) -> Expr:
    return tir.Broadcast(value, lanes) if lanes > 1 else value


def _each(length: int, lanes: int, body: Body) -> None:
    """``body(first, lanes)`` over a row."""
    if length >= lanes:
        with T.serial(0, length // lanes) as i:
            body(T.Bind(i * lanes), lanes)
    done = length // lanes * lanes
    for offset, count in pieces(length % lanes):
        body(tir.const(done + offset, "int32"), count)


def _reduced(
    length: int,
    lanes: int,
    start: float,
    join: Callable[[Expr, Expr], Expr],
    value: Callable[[Expr, int], Expr],
) -> Expr:
    """``value`` over a row joined into one number: lanes first, then across them."""
    partial = T.alloc_buffer((lanes,), "float32")
    single = T.alloc_buffer((1,), "float32")
    store(partial, _spread(tir.const(start, "float32"), lanes), 0, lanes)

    def take(i: Expr, count: int) -> None:
        store(partial, join(vector(partial, 0, count), value(i, count)), 0, count)

    _each(length, lanes, take)
    T.buffer_store(single, partial[0], [0])
    for lane in range(1, lanes):
        T.buffer_store(single, join(single[0], partial[lane]), [0])
    return T.Bind(single[0])
