"""How dequantize moves down through convolutions and matrix products.

    sum_k sx (x - zx) sw (w - zw)
        = sx sw (sum_k x w  -  zx sum_k w  -  zw sum_k x  +  K zx zw)

The second and the last sum are constants where ``w`` is one. The third is a product with ones, and
is needed only for weights with a zero point (files that others quantized have such).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm import relax

from hago.dataflow import constant_value, is_constant, tensor_type
from hago.float8 import KINDS
from hago.realize.codes import Codes
from hago.realize.grouped import multiply_groups
from hago.scheme import Array, Floats

_BYTES = ("int8", "uint8")
_FLOATS = ("bfloat16", *KINDS)
INT32_MAX = 2**31 - 1


def convolve(builder: relax.BlockBuilder, call: relax.Call, inputs: list[Codes]) -> Codes | None:
    """conv(sx (x - zx), sw (w - zw)), padded with the code zx: it stands for 0."""
    data, weight = inputs
    if not (_are_factors(data, weight) and _is_weight(weight, channel_axis=0)):
        return None
    codes, call = _pad_with_zero_point(builder, call, data)
    product = builder.emit(_conv2d(call, data, codes, weight.expr))
    sums = None
    if np.any(weight.zero_point != 0):
        shape, dtype = tensor_type(weight.expr)
        # The sums are the same for all channels of a group; without groups, one channel has them.
        filters = shape[0] if int(call.attrs.groups) > 1 else 1
        ones = relax.const(np.ones((filters, *shape[1:]), dtype))
        sums = builder.emit(_conv2d(call, data, codes, ones))
    return _accumulator(builder, product, data, weight, (1, 2, 3), sums)


def multiply_matrix(
    builder: relax.BlockBuilder, call: relax.Call, inputs: list[Codes]
) -> Codes | None:
    """(sx (x - zx)) (sw (w - zw)), with ``w`` a constant or computed."""
    data, weight = inputs
    if not _are_factors(data, weight):
        return None
    if weight.scale.ndim == 2:
        return multiply_groups(builder, data, weight)
    if not is_constant(weight.expr):
        return _multiply_activations(builder, data, weight)
    (length, *rest), dtype = tensor_type(weight.expr)
    if len(rest) != 1 or not _is_weight(weight, channel_axis=1):
        return None
    product = builder.emit(_matmul(data, weight.expr))
    sums = None
    if np.any(weight.zero_point != 0):
        sums = builder.emit(_matmul(data, relax.const(np.ones((length, 1), dtype))))
    return _accumulator(builder, product, data, weight, (0,), sums)


def _multiply_activations(
    builder: relax.BlockBuilder, data: Codes, weight: Codes
) -> Codes | None:
    """The product with a right-hand side that is computed: its sums are, too."""
    length = tensor_type(data.expr)[0][-1]
    if not weight.is_per_tensor or (data.is_integer and length * 255 * 255 > INT32_MAX):
        return None
    total = builder.emit(_matmul(data, weight.expr))
    left, right = int(data.zero_point), int(weight.zero_point)
    if left:
        total = _less(builder, total, sums_of(builder, weight, [-2]), left)
    if right:
        total = _less(builder, total, sums_of(builder, data, [-1]), right)
    if left and right:
        total = builder.emit(relax.op.add(total, relax.const(np.int32(length * left * right))))
    return Codes(total, _product(data.scale, weight.scale), np.asarray(0, np.int32))


def sums_of(
    builder: relax.BlockBuilder, data: Codes, axes: Sequence[int], *, keepdims: bool = True
) -> relax.Expr:
    """The codes of ``data`` added up, in the dtype that their products are summed in."""
    wide = builder.emit(relax.op.astype(data.expr, data.sum_dtype))
    return builder.emit(relax.op.sum(wide, axis=list(axes), keepdims=keepdims))


def _less(
    builder: relax.BlockBuilder, total: relax.Expr, sums: relax.Expr, factor: int
) -> relax.Expr:
    """``total - factor sums``."""
    shift = builder.emit(relax.op.multiply(sums, relax.const(np.int32(factor))))
    return builder.emit(relax.op.subtract(total, shift))


def _conv2d(
    call: relax.Call, data: Codes, codes: relax.Expr, weight: relax.Expr
) -> relax.Expr:
    """The convolution ``call`` of ``codes`` (those of ``data``, padded if zero is not 0)."""
    attrs = call.attrs
    return relax.op.nn.conv2d(
        codes,
        weight,
        strides=list(attrs.strides),
        padding=list(attrs.padding) if int(data.zero_point) == 0 else 0,
        dilation=list(attrs.dilation),
        groups=int(attrs.groups),
        data_layout="NHWC",
        kernel_layout="OHWI",
        out_dtype=data.sum_dtype,
    )


def _matmul(data: Codes, weight: relax.Expr) -> relax.Expr:
    return relax.op.matmul(data.expr, weight, out_dtype=data.sum_dtype)


def _are_factors(data: Codes, weight: Codes) -> bool:
    """Whether they can be multiplied as codes: both bytes, or both the same narrow float."""
    are_bytes = all(codes.dtype in _BYTES for codes in (data, weight))
    are_floats = data.dtype == weight.dtype in _FLOATS
    return data.is_per_tensor and (are_bytes or are_floats)


def _is_weight(weight: Codes, channel_axis: int) -> bool:
    """Numbers per tensor or per output channel, and either constant, sums of products below 2^31,
    or floats of constants."""
    if not is_constant(weight.expr):
        return weight.is_per_tensor and not weight.is_integer
    shape = tensor_type(weight.expr)[0]
    if not weight.is_per_tensor and weight.axis % len(shape) != channel_axis:
        return False
    return not weight.is_integer or bool(_largest_sum(weight, channel_axis) <= INT32_MAX)


def _largest_sum(weight: Codes, channel_axis: int) -> np.int64:
    """What the terms of a sum reach together: 255 (|w| + |zw|), summed."""
    codes = constant_value(weight.expr).astype(np.int64)
    others = tuple(axis for axis in range(codes.ndim) if axis != channel_axis)
    count = codes.size // codes.shape[channel_axis]
    shifts = np.abs(weight.zero_point.astype(np.int64)) * count
    return np.max(255 * (np.abs(codes).sum(axis=others) + shifts))


def _pad_with_zero_point(
    builder: relax.BlockBuilder, call: relax.Call, data: Codes
) -> tuple[relax.Expr, relax.Call]:
    """Zero is the code ``zero_point``: pad with it in front of the convolution."""
    top, left, bottom, right = (int(p) for p in call.attrs.padding)
    zero_point = int(data.zero_point)
    if zero_point == 0 or not any((top, left, bottom, right)):
        return data.expr, call
    width = [0, 0, top, bottom, left, right, 0, 0]
    padded = relax.op.nn.pad(data.expr, width, "constant", float(zero_point))
    return builder.emit(padded), call


def _accumulator(
    builder: relax.BlockBuilder,
    accumulator: relax.Expr,
    data: Codes,
    weight: Codes,
    summed: tuple[int, ...],
    sums: relax.Expr | None,
) -> Codes:
    """The sums (over the axes ``summed`` of the weight), less what zero points add to them."""
    if sums is not None:
        zero_points = relax.const(weight.zero_point.astype(np.int32))
        shift = builder.emit(relax.op.multiply(sums, zero_points))
        accumulator = builder.emit(relax.op.subtract(accumulator, shift))
    shifts = _constant_shifts(data, weight, summed)
    if np.any(shifts):
        accumulator = builder.emit(relax.op.add(accumulator, relax.const(shifts)))
    return Codes(accumulator, _product(data.scale, weight.scale), np.asarray(0, np.int32))


def _constant_shifts(data: Codes, weight: Codes, summed: tuple[int, ...]) -> Array:
    """``K zx zw - zx sum(w)`` for each output channel, int32."""
    zero_point = int(data.zero_point)
    if zero_point == 0:
        return np.zeros((), np.int32)
    codes = constant_value(weight.expr).astype(np.int64)
    count = int(np.prod([codes.shape[axis] for axis in summed]))
    shifts = count * weight.zero_point.astype(np.int64) - codes.sum(axis=summed)
    return np.asarray(zero_point * shifts, np.int32)


def _product(left: Floats, right: Floats) -> Floats:
    return (np.asarray(left, np.float32) * np.asarray(right, np.float32)).astype(np.float32)
