"""How dequantize moves down through an operation, one rule an operation.

Each rule takes the codes of the operation's inputs and gives the codes of its result, so that

    op(dequantize(x)) = dequantize(op'(x))

holds exactly over the real numbers. None means that the operation stays in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import relax

from hago.dataflow import constant_value, is_constant, tensor_type
from hago.rebuild import with_args
from hago.scheme import Floats

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Codes:
    """A tensor as ``scale * (expr - zero_point)``; arrays are ``()``, or ``(n,)`` on ``axis``.

    A bfloat16 ``expr`` has scale 1 and zero point 0. What a rule returns may also be float32: the
    sums of bfloat16 products.
    """

    expr: relax.Expr
    scale: Floats
    zero_point: Ints
    axis: int = -1

    @property
    def is_per_tensor(self) -> bool:
        return self.scale.shape == () and self.zero_point.shape == ()

    @property
    def dtype(self) -> str:
        return tensor_type(self.expr)[1]

    @property
    def is_integer(self) -> bool:
        return "int" in self.dtype

    @property
    def sum_dtype(self) -> str:
        """Where products with this tensor are summed."""
        return "int32" if self.is_integer else "float32"

    def same_numbers(self, other: Codes) -> bool:
        return (
            np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
            and self.dtype == other.dtype
        )


Rule = Callable[[relax.BlockBuilder, Any, list[Codes]], Codes | None]


def convolve(builder: relax.BlockBuilder, call: relax.Call, inputs: list[Codes]) -> Codes | None:
    """conv(sx (x - zx), sw w) = sx sw (conv(pad(x, zx), w) - zx sum(w))."""
    data, weight = inputs
    if not (_are_factors(data, weight) and _is_plain_weight(weight, channel_axis=0)):
        return None
    codes, call = _pad_with_zero_point(builder, call, data)
    attrs = call.attrs
    product = relax.op.nn.conv2d(
        codes,
        weight.expr,
        strides=list(attrs.strides),
        padding=list(attrs.padding) if int(data.zero_point) == 0 else 0,
        dilation=list(attrs.dilation),
        groups=int(attrs.groups),
        data_layout="NHWC",
        kernel_layout="OHWI",
        out_dtype=data.sum_dtype,
    )
    return _accumulator(builder, product, data, weight, (1, 2, 3))


def multiply_matrix(
    builder: relax.BlockBuilder, call: relax.Call, inputs: list[Codes]
) -> Codes | None:
    """(sx (x - zx)) (sw w) = sx sw (x w - zx sum_k(w))."""
    data, weight = inputs
    if not _are_factors(data, weight):
        return None
    if not is_constant(weight.expr):
        return _multiply_activations(builder, data, weight)
    rank = len(tensor_type(weight.expr)[0])
    if rank != 2 or not _is_plain_weight(weight, channel_axis=1):
        return None
    product = relax.op.matmul(data.expr, weight.expr, out_dtype=data.sum_dtype)
    return _accumulator(builder, product, data, weight, (0,))


def _multiply_activations(
    builder: relax.BlockBuilder, data: Codes, weight: Codes
) -> Codes | None:
    """The same with a right-hand side that is computed: its sums are, too."""
    if not weight.is_per_tensor or int(weight.zero_point) != 0:
        return None
    product = builder.emit(relax.op.matmul(data.expr, weight.expr, out_dtype=data.sum_dtype))
    if int(data.zero_point) != 0:
        wide = builder.emit(relax.op.astype(weight.expr, "int32"))
        sums = builder.emit(relax.op.sum(wide, axis=[-2], keepdims=True))
        zero_point = relax.const(np.int32(data.zero_point))
        shift = builder.emit(relax.op.multiply(sums, zero_point))
        product = builder.emit(relax.op.subtract(product, shift))
    return Codes(product, _product(data.scale, weight.scale), np.asarray(0, np.int32))


def average(builder: relax.BlockBuilder, call: relax.Call, inputs: list[Codes]) -> Codes | None:
    """mean(s (x - z)) = s/n (sum(x) - n z)."""
    (data,) = inputs
    axes = [int(axis) for axis in call.attrs.axis]
    shape, _ = tensor_type(data.expr)
    if not (data.is_per_tensor and data.is_integer):
        return None
    count = int(np.prod([shape[axis] for axis in axes]))
    wide = builder.emit(relax.op.astype(data.expr, "int32"))
    total = builder.emit(relax.op.sum(wide, axis=axes, keepdims=bool(call.attrs.keepdims)))
    scale = np.asarray(np.float64(data.scale) / count, np.float32)
    return Codes(total, scale, np.asarray(int(data.zero_point) * count, np.int32))


def move(builder: relax.BlockBuilder, call: relax.Call, inputs: list[Codes]) -> Codes | None:
    """move(dequantize(x)) = dequantize(move(x)), for whatever only moves elements or picks the
    largest: scales are positive."""
    (data,) = inputs
    if not data.is_per_tensor:
        return None
    moved = builder.emit(with_args(call, [data.expr, *call.args[1:]]))
    return Codes(moved, data.scale, data.zero_point)


def pick(builder: relax.BlockBuilder, item: relax.TupleGetItem, inputs: list[Codes]) -> Codes:
    """split(dequantize(x))[i] = dequantize(split(x)[i])."""
    (parts,) = inputs
    part = builder.emit(relax.TupleGetItem(parts.expr, item.index))
    return Codes(part, parts.scale, parts.zero_point)


def pool_maximum(
    builder: relax.BlockBuilder, call: relax.Call, inputs: list[Codes]
) -> Codes | None:
    """max(dequantize(x)) = dequantize(max(x)); what pads is never the largest."""
    return move(builder, call, inputs)


def concatenate(
    builder: relax.BlockBuilder, call: relax.Call, inputs: list[Codes]
) -> Codes | None:
    """concat(dequantize(x), dequantize(y)) = dequantize(concat(x, y)), with the same numbers."""
    first = inputs[0]
    if not all(part.is_per_tensor and part.same_numbers(first) for part in inputs):
        return None
    joined = builder.emit(
        relax.op.concat([part.expr for part in inputs], axis=int(call.attrs.axis))
    )
    return Codes(joined, first.scale, first.zero_point)


def _are_factors(data: Codes, weight: Codes) -> bool:
    """Whether they can be multiplied as codes: both integers, or both bfloat16."""
    return data.is_per_tensor and data.is_integer == weight.is_integer


def _is_plain_weight(weight: Codes, channel_axis: int) -> bool:
    """Constant, symmetric, with scales per tensor or per output channel."""
    if not is_constant(weight.expr) or np.any(weight.zero_point != 0):
        return False
    rank = len(tensor_type(weight.expr)[0])
    return weight.scale.shape == () or weight.axis % rank == channel_axis


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
    product: relax.Expr,
    data: Codes,
    weight: Codes,
    summed: tuple[int, ...],
) -> Codes:
    """The sums (over the axes ``summed`` of the weight), less what the zero point adds to them."""
    accumulator = builder.emit(product)
    if int(data.zero_point) != 0:
        sums = constant_value(weight.expr).astype(np.int64).sum(axis=summed)
        shift = -int(data.zero_point) * sums
        accumulator = builder.emit(relax.op.add(accumulator, relax.const(shift.astype(np.int32))))
    return Codes(accumulator, _product(data.scale, weight.scale), np.asarray(0, np.int32))


def _product(left: Floats, right: Floats) -> Floats:
    return (np.asarray(left, np.float32) * np.asarray(right, np.float32)).astype(np.float32)


RULES: dict[str, Rule] = {
    "nn.conv2d": convolve,
    "matmul": multiply_matrix,
    "mean": average,
    "concat": concatenate,
    "nn.max_pool2d": pool_maximum,
    "tuple_get_item": pick,
    **dict.fromkeys(
        (
            "reshape", "permute_dims", "squeeze", "expand_dims", "flatten", "strided_slice",
            "broadcast_to", "tile", "repeat", "flip", "split",
        ),
        move,
    ),
}  # fmt: skip
