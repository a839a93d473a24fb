"""Products of two activations by AMX tiles: the meaning is that of ``batch_matmul``.

The right-hand side is packed inside the kernel, batch by batch, in the layout of VPDPBUSD or
VDPBF16PS, which is that of B tiles too: 16 lanes of 4 bytes, word after word of the reduction.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import divided, flat
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.amx import LANES, ROWS, TileProduct, find_tile
from hago.codegen.intrin.dot import DOTS
from hago.codegen.kernels.convert import fill
from hago.codegen.kernels.cut_amx import Cut, choose_cut, every_cut, fills_tiles
from hago.codegen.kernels.leave_amx import Output, Positions
from hago.codegen.kernels.pack_right import pack_step
from hago.codegen.kernels.product import Product, arguments, kernel
from hago.codegen.kernels.product_amx import TiledProduct, padded_rows
from hago.codegen.workload import BatchMatmul, Kernel, Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
# By how many elements a word of them has.
_LAYOUTS = {dot.depth: dot for dot in DOTS if dot.name in ("vpdpbusd", "vdpbf16ps")}


def batch_matmul_fills_tiles(workload: BatchMatmul, machine: Machine) -> bool:
    """Whether :func:`build_batch_matmul_amx` is the faster template."""
    if workload != workload.packed:
        return False
    tile = find_tile(workload, machine)
    return tile is not None and fills_tiles(_product(workload, tile), tile)


def batch_matmul_cuts(workload: BatchMatmul, machine: Machine) -> tuple[Cut, ...]:
    """What :func:`build_batch_matmul_amx` may be asked for, its own choice first."""
    tile = find_tile(workload, machine)
    assert tile is not None, workload
    return every_cut(_product(workload, tile), tile)


def build_batch_matmul_amx(
    workload: BatchMatmul, epilogue: Epilogue, machine: Machine, cut: Cut | None = None
) -> Kernel:
    """``func(left [b, m, k], right [b, k, n], *operands, output [b, m, n])``."""
    tile = find_tile(workload, machine)
    assert tile is not None, workload
    product = _product(workload, tile)
    types = [
        ((workload.batch, workload.m, workload.k), workload.data),
        ((workload.batch, workload.k, workload.n), workload.weight),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("batch_matmul") as builder:
        left, right, *operands, output = arguments("left right", types)
        rows = workload.batch * workload.m
        data = padded_rows(flat(left), rows, workload.k, product.run)
        packed = _pack(workload, tile, product.run // tile.depth, flat(right))
        target = Output(
            epilogue, [flat(operand) for operand in operands], flat(output),
            workload.output_shape, Positions(workload.m, workload.m), groups_are_rows=True,
        )  # fmt: skip
        cut = cut or choose_cut(product, tile)
        TiledProduct(product, tile, cut, data, packed, target).emit()
    return Kernel(builder.get(), None, "batch_matmul")


def _product(workload: BatchMatmul, tile: TileProduct) -> Product:
    """A batch is a group. Rows are padded to whole steps of the same number of words, because
    packing in the kernel cannot make zeros of what two steps share."""
    words = -(-workload.k // tile.depth)
    steps = -(-words // ROWS)
    run = -(-words // steps) * steps * tile.depth
    return Product(
        outer=1,
        width=workload.m,
        base=lambda outer: tir.const(0, "int32"),
        row_pitch=run,
        taps=1,
        tap=lambda t: tir.const(0, "int32"),
        run=run,
        channels=workload.n,
        groups=workload.batch,
        group_pitch=workload.m * run,
    )


def _pack(workload: BatchMatmul, tile: TileProduct, words: int, right: Buffer) -> Buffer:
    """``right`` as ``[batch, vectors, words, 16, depth]`` in scratch memory, zeros at the end."""
    dot = _LAYOUTS[tile.depth]
    given, vectors, size = -(-workload.k // dot.depth), -(-workload.n // LANES), LANES * dot.depth
    packed = T.alloc_buffer((workload.batch * vectors * words * size,), dot.weight)
    with T.parallel(0, workload.batch * vectors) as index:
        batch, column = divided(index, vectors)
        with T.serial(0, given) as word:
            target = T.Bind((index * words + word) * size)
            start = T.Bind((batch * workload.k + word * dot.depth) * workload.n + column * LANES)
            pack_step(workload, dot, LANES, right, packed, word, start, target, column)
        fill(packed, (index * words + given) * size, (words - given) * size, 0, dot.weight)
    return packed
