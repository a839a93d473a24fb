"""Activation times constant weights: out[m, n] = epilogue(sum_k a[m, k] * w[k, n])."""

from __future__ import annotations

from tvm import tirx as tir

from hago.codegen.access import flat
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.convert import as_dot_data
from hago.codegen.kernels.product import (
    Product,
    arguments,
    emit_product,
    kernel,
    pack,
    packed_shape,
    packed_weight,
)
from hago.codegen.select import choose_dot
from hago.codegen.workload import Array, Kernel, Machine, Matmul


def build_matmul(workload: Matmul, epilogue: Epilogue, machine: Machine) -> Kernel:
    """``func(data [m, k], packed weights, *operands, output [m, n])``."""
    dot, lanes = choose_dot(workload, machine), machine.lanes
    padded_k = -(-workload.k // dot.depth) * dot.depth
    product = Product(
        outer=1,
        width=workload.m,
        base=lambda outer: tir.const(0, "int32"),
        row_pitch=padded_k,
        taps=1,
        tap=lambda t: tir.const(0, "int32"),
        run=workload.k,
        channels=workload.n,
    )
    types = [
        ((workload.m, workload.k), workload.data),
        (packed_shape(product, dot, lanes), dot.weight),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("matmul") as builder:
        data, weight, *operands, output = arguments("data weight", types)
        emit_product(
            product, dot, machine, epilogue,
            as_dot_data(flat(data), (workload.m, workload.k), padded_k, dot, workload.data),
            packed_weight(weight, product, dot, lanes),
            [flat(operand) for operand in operands], flat(output), workload.output_shape,
        )  # fmt: skip

    def pack_weight(weight: Array) -> Array:
        return pack(weight.T[None, :, None, :], dot, lanes)

    return Kernel(builder.get(), pack_weight, "matmul")
