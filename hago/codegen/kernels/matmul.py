"""Activation times constant weights: out[m, n] = epilogue(sum_k a[m, k] * w[k, n])."""

from __future__ import annotations

from tvm import tirx as tir

from hago.codegen.access import flat
from hago.codegen.blocking import Blocking
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.dot import Dot
from hago.codegen.kernels.convert import as_dot_data
from hago.codegen.kernels.product import (
    Product,
    arguments,
    emit_product,
    kernel,
    pack,
    packed_shape,
    packed_weight,
    product_blockings,
)
from hago.codegen.select import choose_dot
from hago.codegen.workload import Array, Kernel, Machine, Matmul


def matmul_blockings(workload: Matmul, machine: Machine) -> tuple[Blocking, ...]:
    """What :func:`build_matmul` may be asked for, its own choice first."""
    dot = choose_dot(workload, machine)
    return product_blockings(_product(workload, dot), dot, machine)


def build_matmul(
    workload: Matmul, epilogue: Epilogue, machine: Machine, blocking: Blocking | None = None
) -> Kernel:
    """``func(data [m, k], packed weights, *operands, output [m, n])``."""
    dot, lanes = choose_dot(workload, machine), machine.lanes
    product = _product(workload, dot)
    shape = workload.m, workload.k
    types = [
        (shape, workload.data),
        (packed_shape(product, dot, lanes), dot.weight),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("matmul") as builder:
        data, weight, *operands, output = arguments("data weight", types)
        emit_product(
            product, dot, machine, epilogue,
            as_dot_data(flat(data), shape, product.row_pitch, dot, workload.data),
            packed_weight(weight, product, dot, lanes),
            [flat(operand) for operand in operands], flat(output), workload.output_shape,
            blocking=blocking,
        )  # fmt: skip

    def pack_weight(weight: Array) -> Array:
        return pack(weight.T[None, :, None, :], dot, lanes)

    return Kernel(builder.get(), pack_weight, "matmul")


def _product(workload: Matmul, dot: Dot) -> Product:
    """Rows end with a whole step."""
    return Product(
        outer=1,
        width=workload.m,
        base=lambda outer: tir.const(0, "int32"),
        row_pitch=-(-workload.k // dot.depth) * dot.depth,
        taps=1,
        tap=lambda t: tir.const(0, "int32"),
        run=workload.k,
        channels=workload.n,
    )
