"""A few rows times constant weights of 4 bits: the meaning is that of ``matmul``.

With few rows the time is that of reading the weights from memory, and these are half as many
bytes. With many, weights are better unpacked once than once for every tile of rows.
"""

from __future__ import annotations

from tvm import tirx as tir

from hago.codegen.access import flat, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.dot import Dot
from hago.codegen.kernels.convert import as_dot_data
from hago.codegen.kernels.product import (
    Product,
    Weights,
    arguments,
    emit_product,
    kernel,
    pack,
    packed_shape,
)
from hago.codegen.nibbles import (
    accumulate_nibbles,
    for_nibbles,
    in_pairs,
    pack_nibbles,
    takes_nibbles,
)
from hago.codegen.select import choose_dot, has_dot
from hago.codegen.workload import Array, Kernel, Machine, Matmul

FEW_ROWS = 8  # a tile of rows, at most


def reads_nibbles(workload: Matmul, machine: Machine) -> bool:
    """Whether :func:`build_matmul_nibbles` is the faster template."""
    if workload.weight != "int4" or workload.m > FEW_ROWS or not has_dot(workload, machine):
        return False
    return takes_nibbles(choose_dot(workload, machine), workload.k)


def build_matmul_nibbles(workload: Matmul, epilogue: Epilogue, machine: Machine) -> Kernel:
    """``func(data [m, k], packed weights, *operands, output [m, n])``."""
    dot, lanes = choose_dot(workload, machine), machine.lanes
    product = rows_product(workload.m, workload.n, workload.k)
    types = [
        ((workload.m, workload.k), workload.data),
        (nibbles_shape(product, dot, lanes), "uint8"),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("matmul") as builder:
        data, weight, *operands, output = arguments("data weight", types)
        emit_product(
            product, in_pairs(dot), for_nibbles(machine, dot), epilogue,
            as_dot_data(flat(data), (workload.m, workload.k), workload.k, dot, workload.data),
            nibbles_weight(weight, product, dot, lanes),
            [flat(operand) for operand in operands], flat(output), workload.output_shape,
            lambda source, rows, columns, _: accumulate_nibbles(source, dot, rows, columns, lanes),
        )  # fmt: skip
    return Kernel(
        builder.get(), lambda codes: pack_nibbles(pack_columns(codes, dot, lanes), dot), "matmul"
    )


def rows_product(m: int, n: int, k: int) -> Product:
    """The geometry of ``[m, k] x [k, n]``."""
    return Product(
        outer=1,
        width=m,
        base=lambda outer: tir.const(0, "int32"),
        row_pitch=k,
        taps=1,
        tap=lambda t: tir.const(0, "int32"),
        run=k,
        channels=n,
    )


def pack_columns(codes: Array, dot: Dot, lanes: int) -> Array:
    """Weights [k, n] as :func:`hago.codegen.kernels.product.pack` wants them."""
    return pack(codes.T[None, :, None, :], dot, lanes)


def nibbles_shape(product: Product, dot: Dot, lanes: int) -> tuple[int, ...]:
    """Of packed weights: half as many steps."""
    groups, vectors, steps, *inner = packed_shape(product, dot, lanes)
    return (groups, vectors, steps // 2, *inner)


def nibbles_weight(buffer: object, product: Product, dot: Dot, lanes: int) -> Weights:
    """How to read packed vectors of two steps."""
    memory, size = flat(buffer), lanes * dot.depth
    pairs = product.steps(dot) // 2

    def read(_: tir.Expr, group: tir.Expr, column: tir.Expr, pair: tir.Expr) -> tir.Expr:
        return vector(memory, (column * pairs + pair) * size, size)

    return Weights(read, lambda number: tir.address_of(memory[number * size]), size)
