"""Convolution, NHWC x OHWI, as an implicit matrix product of AMX tiles: the meaning of ``conv``.

A row of A is a kernel row's ``kw * ci`` elements at an output pixel; the pixels of a tile lie
``stride * ci`` apart. Where rows of an image are short, a tile goes on from one to the next
through the columns that pad them: the products there are dropped, but each tile of weights
meets more pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

from tvm import tirx as tir

from hago.codegen.access import flat
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.amx import ROWS, TileProduct, find_tile
from hago.codegen.kernels.conv import Image, convolution_product, copy_image, has_row_taps, runs
from hago.codegen.kernels.cut_amx import Cut, choose_cut, cycles, every_cut, fills_tiles
from hago.codegen.kernels.leave_amx import Output, Positions
from hago.codegen.kernels.product import Product, arguments, kernel
from hago.codegen.kernels.product_amx import (
    TiledProduct,
    pack,
    packed_shape,
)
from hago.codegen.vector import storage
from hago.codegen.workload import Array, Conv2d, Kernel, Machine

Expr: TypeAlias = tir.Expr


def conv_fills_tiles(workload: Conv2d, machine: Machine) -> bool:
    """Whether :func:`build_conv_amx` is the faster template."""
    tile = find_tile(workload, machine)
    return tile is not None and fills_tiles(
        convolution_product(workload, _image(workload, tile)), tile
    )


def conv_cuts(workload: Conv2d, machine: Machine) -> tuple[Cut, ...]:
    """What :func:`build_conv_amx` may be asked for, its own choice first."""
    tile = find_tile(workload, machine)
    assert tile is not None, workload
    product, _ = _product(workload, _image(workload, tile), tile)
    return every_cut(product, tile)


def build_conv_amx(
    workload: Conv2d, epilogue: Epilogue, machine: Machine, cut: Cut | None = None
) -> Kernel:
    """``func(data [n,h,w,ci], packed weights, *operands, output [n,oh,ow,co])``."""
    tile = find_tile(workload, machine)
    assert tile is not None, workload
    image = _image(workload, tile)
    product, positions = _product(workload, image, tile)
    cut = cut or choose_cut(product, tile)
    types = [
        ((workload.n, workload.h, workload.w, workload.ci), workload.data),
        (packed_shape(product, tile, cut), storage(tile.weight)),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("conv2d") as builder:
        data, weight, *operands, output = arguments("data weight", types)
        source = flat(data)
        if image.is_copy:
            source = copy_image(workload, image, source, storage(workload.data))
        target = Output(
            epilogue, [flat(operand) for operand in operands], flat(output),
            workload.output_shape, positions,
        )  # fmt: skip
        TiledProduct(product, tile, cut, source, weight, target).emit()

    def pack_weight(weight: Array) -> Array:
        return pack(runs(workload, product, weight), tile, cut)

    return Kernel(builder.get(), pack_weight, "conv2d")


def _image(workload: Conv2d, tile: TileProduct) -> Image:
    """Runs of one step are read as whole words, which may need some slack behind the image."""
    top, left, bottom, right = workload.padding
    per_group = workload.ci // workload.groups
    run = per_group * (workload.kw if has_row_taps(workload) else 1)
    slack = -run % tile.depth if run < ROWS * tile.depth else 0
    copied = any(workload.padding) or slack > 0
    return Image(workload.h + top + bottom, workload.w + left + right, slack, copied)


def _product(workload: Conv2d, image: Image, tile: TileProduct) -> tuple[Product, Positions]:
    """The geometry of the fewest cycles."""

    def cost(found: tuple[Product, Positions]) -> float:
        return cycles(found[0], tile, choose_cut(found[0], tile))

    return min(_products(workload, image), key=cost)


def _products(workload: Conv2d, image: Image) -> Iterator[tuple[Product, Positions]]:
    """One row of the output after another, and whole images where that is possible."""
    product = convolution_product(workload, image)
    yield product, Positions(product.width, product.width)
    n, oh, ow, _ = workload.output_shape
    if workload.strides != (1, 1) or product.outer != n * oh:
        return
    size = image.h * image.w * workload.ci

    def base(outer: Expr) -> Expr:
        return outer * size

    whole = replace(product, outer=n, width=(oh - 1) * image.w + ow, base=base)
    yield whole, Positions(image.w, ow)
