"""How dequantize moves down through an operation, one rule an operation.

Each rule takes the codes of the operation's inputs and gives the codes of its result, so that

    op(dequantize(x)) = dequantize(op'(x))

holds exactly over the real numbers. None means that the operation stays in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from hago.dataflow import tensor_type
from hago.realize.codes import Codes
from hago.realize.grouped import join_codes
from hago.realize.products import INT32_MAX, convolve, multiply_matrix, sums_of
from hago.rebuild import with_args

Rule = Callable[[relax.BlockBuilder, Any, list[Codes]], Codes | None]


def average(builder: relax.BlockBuilder, call: relax.Call, inputs: list[Codes]) -> Codes | None:
    """mean(s (x - z)) = s/n (sum(x) - n z)."""
    (data,) = inputs
    total = add_up(builder, call, inputs) if data.is_integer else None
    if total is None:
        return None
    scale = np.asarray(np.float64(data.scale) / _count(call), np.float32)
    return Codes(total.expr, scale, total.zero_point)


def add_up(builder: relax.BlockBuilder, call: relax.Call, inputs: list[Codes]) -> Codes | None:
    """sum(s (x - z)) = s (sum(x) - n z); bfloat16 is summed in float32."""
    (data,) = inputs
    count = _count(call)
    if not data.is_per_tensor or (data.is_integer and count * 255 > INT32_MAX):
        return None
    total = sums_of(builder, data, _axes(call), keepdims=bool(call.attrs.keepdims))
    return Codes(total, data.scale, np.asarray(int(data.zero_point) * count, np.int32))


def _axes(call: relax.Call) -> list[int]:
    """The axes that ``call`` reduces, all if it names none."""
    given = call.attrs.axis
    return [int(axis) for axis in given] if given else list(range(len(_shape(call))))


def _shape(call: relax.Call) -> tuple[int, ...]:
    return tensor_type(call.args[0])[0]


def _count(call: relax.Call) -> int:
    """How many elements of its argument a reduction takes together."""
    return math.prod(_shape(call)[axis] for axis in _axes(call))


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
    """concat(dequantize(x), dequantize(y)) = dequantize(concat(x, y)), with the same numbers; or
    weights that differ in them by groups."""
    first = inputs[0]
    if (weight := join_codes(call, inputs)) is not None:
        return weight
    if not all(part.is_per_tensor and part.same_numbers(first) for part in inputs):
        return None
    joined = builder.emit(
        relax.op.concat([part.expr for part in inputs], axis=int(call.attrs.axis))
    )
    return Codes(joined, first.scale, first.zero_point)


def pad(builder: relax.BlockBuilder, call: relax.Call, inputs: list[Codes]) -> Codes | None:
    """pad(dequantize(x), v) = dequantize(pad(x, v / s + z)), where that is a code."""
    (data,) = inputs
    if not (data.is_per_tensor and data.is_integer) or str(call.attrs.pad_mode) != "constant":
        return None
    value = np.float32(getattr(call.attrs.pad_value, "value", call.attrs.pad_value))
    code = float(np.rint(value / data.scale)) + int(data.zero_point)
    bounds = np.iinfo(data.dtype)
    is_code = np.float32(code - int(data.zero_point)) * data.scale == value
    if not (bounds.min <= code <= bounds.max and is_code):
        return None
    width = [int(w) for w in call.attrs.pad_width]
    padded = builder.emit(relax.op.nn.pad(data.expr, width, "constant", code))
    return Codes(padded, data.scale, data.zero_point)


RULES: dict[str, Rule] = {
    "nn.pad": pad,
    "nn.conv2d": convolve,
    "matmul": multiply_matrix,
    "mean": average,
    "sum": add_up,
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
