"""Activation times constant weights by AMX tiles: the meaning is that of ``matmul``."""

from __future__ import annotations

from tvm import tirx as tir

from hago.codegen.access import flat
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.amx import ROWS, TileProduct, find_tile
from hago.codegen.kernels.cut_amx import Cut, choose_cut, every_cut, fills_tiles
from hago.codegen.kernels.leave_amx import Output, Positions
from hago.codegen.kernels.product import Product, arguments, kernel
from hago.codegen.kernels.product_amx import (
    TiledProduct,
    pack,
    packed_shape,
    padded_rows,
)
from hago.codegen.vector import storage
from hago.codegen.workload import Array, Kernel, Machine, Matmul


def matmul_fills_tiles(workload: Matmul, machine: Machine) -> bool:
    """Whether :func:`build_matmul_amx` is the faster template."""
    tile = find_tile(workload, machine)
    return tile is not None and fills_tiles(_product(workload, tile), tile)


def matmul_cuts(workload: Matmul, machine: Machine) -> tuple[Cut, ...]:
    """What :func:`build_matmul_amx` may be asked for, its own choice first."""
    tile = find_tile(workload, machine)
    assert tile is not None, workload
    return every_cut(_product(workload, tile), tile)


def build_matmul_amx(
    workload: Matmul, epilogue: Epilogue, machine: Machine, cut: Cut | None = None
) -> Kernel:
    """``func(data [m, k], packed weights, *operands, output [m, n])``."""
    tile = find_tile(workload, machine)
    assert tile is not None, workload
    product = _product(workload, tile)
    cut = cut or choose_cut(product, tile)
    types = [
        ((workload.m, workload.k), workload.data),
        (packed_shape(product, tile, cut), storage(tile.weight)),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("matmul") as builder:
        data, weight, *operands, output = arguments("data weight", types)
        rows = padded_rows(flat(data), workload.m, workload.k, product.row_pitch)
        target = Output(
            epilogue, [flat(operand) for operand in operands], flat(output),
            workload.output_shape, Positions(workload.m, workload.m),
        )  # fmt: skip
        TiledProduct(product, tile, cut, rows, weight, target).emit()

    def pack_weight(weight: Array) -> Array:
        return pack(weight.T[None, :, None, :], tile, cut)

    return Kernel(builder.get(), pack_weight, "matmul")


def _product(workload: Matmul, tile: TileProduct) -> Product:
    """Rows of one step end with a whole word; longer ones are read as they are."""
    words = -(-workload.k // tile.depth)
    return Product(
        outer=1,
        width=workload.m,
        base=lambda outer: tir.const(0, "int32"),
        row_pitch=words * tile.depth if words <= ROWS else workload.k,
        taps=1,
        tap=lambda t: tir.const(0, "int32"),
        run=workload.k,
        channels=workload.n,
    )
