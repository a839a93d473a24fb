"""Convolution, NHWC x OHWI, as an implicit matrix product.

    out[n, y, x, o] = epilogue(sum_{ky, kx, i} pad(a)[n, y*s + ky*d, x*s + kx*d, i] w[o, ky, kx, i])

Without dilation and groups the ``kw * ci`` elements of a kernel row are consecutive in memory:
a tap is a kernel row. Otherwise a tap is one kernel position. The image is copied only where it
must be padded, or where the instruction wants another element type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import flat
from hago.codegen.blocking import Blocking
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.dot import Dot
from hago.codegen.kernels.convert import copy_run, fill
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
from hago.codegen.vector import storage
from hago.codegen.workload import Array, Conv2d, Kernel, Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs


def conv_blockings(workload: Conv2d, machine: Machine) -> tuple[Blocking, ...]:
    """What :func:`build_conv` may be asked for, its own choice first."""
    dot = choose_dot(workload, machine)
    return product_blockings(convolution_product(workload, _image(workload, dot)), dot, machine)


def build_conv(
    workload: Conv2d, epilogue: Epilogue, machine: Machine, blocking: Blocking | None = None
) -> Kernel:
    """``func(data [n,h,w,ci], packed weights, *operands, output [n,oh,ow,co])``."""
    dot, lanes = choose_dot(workload, machine), machine.lanes
    image = _image(workload, dot)
    product = convolution_product(workload, image)
    types = [
        ((workload.n, workload.h, workload.w, workload.ci), workload.data),
        (packed_shape(product, dot, lanes), dot.weight),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("conv2d") as builder:
        data, weight, *operands, output = arguments("data weight", types)
        source = flat(data)
        if image.is_copy:
            source = copy_image(workload, image, source, dot.data)
        emit_product(
            product, dot, machine, epilogue, source, packed_weight(weight, product, dot, lanes),
            [flat(operand) for operand in operands], flat(output), workload.output_shape,
            blocking=blocking,
        )  # fmt: skip

    def pack_weight(weight: Array) -> Array:
        return pack(runs(workload, product, weight), dot, lanes)

    return Kernel(builder.get(), pack_weight, "conv2d")


@dataclass(frozen=True)
class Image:
    """The image that the product reads: rows and columns after padding, and whether it is a copy.

    ``slack`` elements follow it, for the last run's reads beyond its end.
    """

    h: int
    w: int
    slack: int
    is_copy: bool


def _image(workload: Conv2d, dot: Dot) -> Image:
    top, left, bottom, right = workload.padding
    per_group = workload.ci // workload.groups
    run = per_group * (workload.kw if has_row_taps(workload) else 1)
    slack = -run % dot.depth
    overreads = slack > 0
    copied = any(workload.padding) or dot.data != storage(workload.data) or overreads
    return Image(workload.h + top + bottom, workload.w + left + right, slack, copied)


def has_row_taps(workload: Conv2d) -> bool:
    return workload.groups == 1 and workload.dilation[1] == 1


def convolution_product(workload: Conv2d, image: Image) -> Product:
    n, oh, ow, co = workload.output_shape
    stride_h, stride_w = workload.strides
    pitch = image.w * workload.ci
    per_group = workload.ci // workload.groups
    taps, run = workload.kh, workload.kw * per_group
    if not has_row_taps(workload):
        taps, run = workload.kh * workload.kw, per_group
    flat_rows = workload.kh == workload.kw == stride_h == stride_w == 1 and not image.is_copy
    if flat_rows:
        n, oh, ow = 1, 1, n * oh * ow

    def tap(t: Expr) -> Expr:
        if has_row_taps(workload):
            return t * (workload.dilation[0] * pitch)
        ky, kx = tir.floordiv(t, workload.kw), tir.floormod(t, workload.kw)
        return ky * (workload.dilation[0] * pitch) + kx * (workload.dilation[1] * workload.ci)

    def base(outer: Expr) -> Expr:
        image_row = tir.floordiv(outer, oh) * image.h + tir.floormod(outer, oh) * stride_h
        return image_row * pitch

    return Product(
        outer=n * oh, width=ow, base=base, row_pitch=stride_w * workload.ci, taps=taps, tap=tap,
        run=run, channels=co // workload.groups, groups=workload.groups, group_pitch=per_group,
    )  # fmt: skip


def runs(workload: Conv2d, product: Product, weight: Array) -> Array:
    """OHWI weights as ``[groups, channels, taps, run]``."""
    return weight.reshape(product.groups, product.channels, product.taps, product.run)


def copy_image(workload: Conv2d, image: Image, data: Buffer, dtype: str) -> Buffer:
    """A padded copy of the image in scratch memory, in ``dtype``, with some slack behind."""
    top, left, _, right = workload.padding
    pitch, channels = image.w * workload.ci, workload.ci
    size = workload.n * image.h * pitch
    copy = T.alloc_buffer((size + image.slack,), dtype)
    if image.slack:
        fill(copy, tir.const(size, "int32"), image.slack, 0, dtype)
    with T.parallel(0, workload.n * image.h) as row:
        y = T.Bind(tir.floormod(row, image.h) - top)
        start = T.Bind(row * pitch)
        with T.If(tir.all(y >= 0, y < workload.h)):
            with T.Then():
                source = (tir.floordiv(row, image.h) * workload.h + y) * workload.w * channels
                length = workload.w * channels
                fill(copy, start, left * channels, workload.pad_code, dtype)
                copy_run(copy, start + left * channels, data, source, length, dtype)
                fill(copy, start + left * channels + length, right * channels,
                     workload.pad_code, dtype)  # fmt: skip
            with T.Else():
                fill(copy, start, pitch, workload.pad_code, dtype)
    return copy
