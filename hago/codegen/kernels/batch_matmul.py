"""Products of two activations: out[b, m, n] = epilogue(sum_k a[b, m, k] * w[b, k, n]).

Matrices may be heads of an attention, which lie side by side in memory: they are read and written
where they are. The right-hand side is packed inside the kernel, batch by batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from tvm import tirx as tir

from hago.codegen.access import flat, vector
from hago.codegen.blocking import Blocking
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.dot import Dot
from hago.codegen.kernels.convert import as_dot_data
from hago.codegen.kernels.pack_right import pack_right, packs
from hago.codegen.kernels.product import (
    Product,
    Rows,
    Weights,
    arguments,
    emit_product,
    kernel,
    product_blockings,
)
from hago.codegen.select import choose_dot, has_dot
from hago.codegen.vector import storage
from hago.codegen.workload import BatchMatmul, Kernel, Machine, Strides

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs


def multiplies_batches(workload: BatchMatmul, machine: Machine) -> bool:
    """Whether :func:`build_batch_matmul` takes the workload: rows are not padded where they lie,
    and are read and written in vectors."""
    if not has_dot(workload, machine):
        return False
    dot, left, output = choose_dot(workload, machine), workload.left, workload.output
    reads = left is None or (left.column == 1 and workload.k % dot.depth == 0)
    writes = output is None or output.column == 1
    return reads and writes and packs(workload, dot, machine.lanes)


def batch_matmul_blockings(workload: BatchMatmul, machine: Machine) -> tuple[Blocking, ...]:
    """What :func:`build_batch_matmul` may be asked for, its own choice first."""
    dot = choose_dot(workload, machine)
    return product_blockings(_product(workload, dot), dot, machine)


def build_batch_matmul(
    workload: BatchMatmul, epilogue: Epilogue, machine: Machine, blocking: Blocking | None = None
) -> Kernel:
    """``func(left [b, m, k], right [b, k, n], *operands, output [b, m, n])``."""
    types = [
        (workload.left_memory, workload.data),
        (workload.right_memory, workload.weight),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_memory, epilogue.dtype),
    ]
    with kernel("batch_matmul") as builder:
        left, right, *operands, output = [flat(b) for b in arguments("left right", types)]
        emit_batch_matmul(
            workload, epilogue, machine, (left, right), operands, output, blocking
        )
    return Kernel(builder.get(), None, "batch_matmul")


def emit_batch_matmul(
    workload: BatchMatmul,
    epilogue: Epilogue,
    machine: Machine,
    data: tuple[Buffer, Buffer],
    operands: Sequence[Buffer],
    output: Buffer,
    blocking: Blocking | None = None,
) -> None:
    """The same inside an open PrimFunc, all buffers flat."""
    dot, lanes = choose_dot(workload, machine), machine.lanes
    left, right = data
    if workload.left is None or storage(workload.data) != dot.data:
        left = _rows_for(dot, workload, left)
        workload = replace(workload, left=None)
    product = _product(workload, dot)
    steps, vectors = product.steps(dot), product.vectors(lanes)
    packed = pack_right(workload, dot, lanes, right)
    size = lanes * dot.depth

    def weight(outer: Expr, _: Expr, column: Expr, step: Expr) -> Expr:
        return vector(packed, ((outer * vectors + column) * steps + step) * size, size)

    emit_product(
        product, dot, machine, epilogue, left, Weights(weight), operands, output,
        workload.output_shape, blocking=blocking, rows=_rows(workload),
    )  # fmt: skip


def _rows_for(dot: Dot, workload: BatchMatmul, left: Buffer) -> Buffer:
    """The rows of the left-hand side as ``dot`` reads them, one after another."""
    rows, strides, m = workload.batch * workload.m, workload.left, workload.m
    pitch = -(-workload.k // dot.depth) * dot.depth
    if strides is None:
        return as_dot_data(left, (rows, workload.k), pitch, dot, workload.data)

    def start(row: Expr) -> Expr:
        return strides.start(row // m) + row % m * strides.row

    return as_dot_data(left, (rows, workload.k), pitch, dot, workload.data, start)


def _product(workload: BatchMatmul, dot: Dot) -> Product:
    """Rows of matrices that lie one after another end with a whole step."""
    pitch = -(-workload.k // dot.depth) * dot.depth
    left = workload.left or Strides.packed(workload.m, pitch)
    return Product(
        outer=workload.batch,
        width=workload.m,
        base=left.start,
        row_pitch=left.row,
        taps=1,
        tap=lambda t: tir.const(0, "int32"),
        run=workload.k,
        channels=workload.n,
    )


def _rows(workload: BatchMatmul) -> Rows | None:
    output = workload.output
    if output is None:
        return None

    def start(row: Expr) -> Expr:
        return output.start(row // workload.m) + row % workload.m * output.row

    return Rows(start, output.row)
