"""Products of two activations: out[b, m, n] = epilogue(sum_k a[b, m, k] * w[b, k, n]).

The right-hand side is packed inside the kernel, batch by batch.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import flat, store, vector
from hago.codegen.blocking import Blocking
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.dot import Dot
from hago.codegen.kernels.convert import as_dot_data
from hago.codegen.kernels.product import (
    Product,
    Weights,
    arguments,
    emit_product,
    kernel,
    product_blockings,
)
from hago.codegen.select import choose_dot
from hago.codegen.tile import pieces
from hago.codegen.workload import BatchMatmul, Kernel, Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs


def batch_matmul_blockings(workload: BatchMatmul, machine: Machine) -> tuple[Blocking, ...]:
    """What :func:`build_batch_matmul` may be asked for, its own choice first."""
    dot = choose_dot(workload, machine)
    return product_blockings(_product(workload, dot), dot, machine)


def build_batch_matmul(
    workload: BatchMatmul, epilogue: Epilogue, machine: Machine, blocking: Blocking | None = None
) -> Kernel:
    """``func(left [b, m, k], right [b, k, n], *operands, output [b, m, n])``."""
    dot, lanes = choose_dot(workload, machine), machine.lanes
    steps, vectors = -(-workload.k // dot.depth), -(-workload.n // lanes)
    product = _product(workload, dot)
    types = [
        ((workload.batch, workload.m, workload.k), workload.data),
        ((workload.batch, workload.k, workload.n), workload.weight),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("batch_matmul") as builder:
        left, right, *operands, output = arguments("left right", types)
        rows = (workload.batch * workload.m, workload.k)
        data = as_dot_data(flat(left), rows, product.row_pitch, dot, workload.data)
        packed = _pack(workload, dot, lanes, flat(right))
        size = lanes * dot.depth

        def weight(outer: Expr, _: Expr, column: Expr, step: Expr) -> Expr:
            return vector(packed, ((outer * vectors + column) * steps + step) * size, size)

        emit_product(
            product, dot, machine, epilogue, data, Weights(weight),
            [flat(operand) for operand in operands], flat(output), workload.output_shape,
            blocking=blocking,
        )  # fmt: skip
    return Kernel(builder.get(), None, "batch_matmul")


def _product(workload: BatchMatmul, dot: Dot) -> Product:
    """Rows end with a whole step."""
    pitch = -(-workload.k // dot.depth) * dot.depth
    return Product(
        outer=workload.batch,
        width=workload.m,
        base=lambda outer: outer * (workload.m * pitch),
        row_pitch=pitch,
        taps=1,
        tap=lambda t: tir.const(0, "int32"),
        run=workload.k,
        channels=workload.n,
    )


def _pack(workload: BatchMatmul, dot: Dot, lanes: int, right: Buffer) -> Buffer:
    """``right`` as ``[batch, vectors, steps, lanes, depth]`` in scratch memory."""
    steps, vectors = -(-workload.k // dot.depth), -(-workload.n // lanes)
    size = lanes * dot.depth
    packed = T.alloc_buffer((workload.batch * vectors * steps * size,), dot.weight)
    with T.parallel(0, workload.batch * vectors) as index:
        batch = T.Bind(tir.floordiv(index, vectors))
        column = T.Bind(tir.floormod(index, vectors))
        with T.serial(0, steps) as step:
            target = T.Bind((index * steps + step) * size)
            start = T.Bind((batch * workload.k + step * dot.depth) * workload.n + column * lanes)
            pack_step(workload, dot, lanes, right, packed, step, start, target, column)
    return packed


def pack_step(
    workload: BatchMatmul,
    dot: Dot,
    lanes: int,
    right: Buffer,
    packed: Buffer,
    step: Expr,
    start: Expr,
    target: Expr,
    column: Expr,
) -> None:
    """One packed vector: ``depth`` rows of ``lanes`` elements, interleaved."""
    rest = workload.n % lanes

    def whole(count: int, offset: int) -> None:
        words = _interleaved(workload, dot, right, step, start + offset, count)
        store(packed, words, target + offset * dot.depth, count * dot.depth)

    if rest == 0:
        whole(lanes, 0)
        return
    with T.If(column < workload.n // lanes):
        with T.Then():
            whole(lanes, 0)
        with T.Else():
            zero = tir.Broadcast(tir.const(0, dot.weight), lanes * dot.depth)
            store(packed, zero, target, lanes * dot.depth)
            for offset, count in pieces(rest):
                whole(count, offset)


def _interleaved(
    workload: BatchMatmul, dot: Dot, right: Buffer, step: Expr, start: Expr, count: int
) -> Expr:
    """``count * depth`` elements: the ``depth`` rows from ``start``, element by element."""
    if dot.depth == 1:
        return vector(right, start, count)
    in_word = 4 // np.dtype(dot.weight).itemsize
    firsts = range(0, dot.depth, in_word)
    words = [_words(workload, dot, right, step, start, first, count) for first in firsts]
    joined = words[0]
    if len(words) > 1:
        order = [number * count + lane for lane in range(count) for number in range(len(words))]
        joined = tir.Shuffle([T.Bind(word) for word in words], order)
    return tir.reinterpret(f"{dot.weight}x{count * dot.depth}", joined)


def _words(
    workload: BatchMatmul,
    dot: Dot,
    right: Buffer,
    step: Expr,
    start: Expr,
    first: int,
    count: int,
) -> Expr:
    """32-bit words of ``count`` columns, of the rows from ``first`` of those from ``start``."""
    bits = 8 * np.dtype(dot.weight).itemsize
    total: Expr | None = None
    for place in range(32 // bits):
        row = first + place
        element = v.cast(vector(right, start + row * workload.n, count), "int32")
        if workload.k % dot.depth:
            inside = step * dot.depth + row < workload.k
            zero = v.splat(0, element, "int32")
            element = tir.if_then_else(inside, element, zero)
        mask = v.splat((1 << bits) - 1, element, "int32")
        word = tir.bitwise_and(element, mask) << v.splat(place * bits, element, "int32")
        total = word if total is None else tir.bitwise_or(total, word)
    assert total is not None
    return total
