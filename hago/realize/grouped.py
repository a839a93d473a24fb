"""Products with weights in groups: a scale for each run of reduction elements of a column.

    x W = sum_g sx s_g (x_g - zx) w_g = sum_g (sx s_g) (x_g w_g)  -  zx sx sum_g s_g sum(w_g)

with x_g the part of x that meets the rows w_g of W, and s_g a scale for each of their columns. The
integer products of all groups are one product with a group axis in front; the second sum is a
constant for each column.
"""

from __future__ import annotations

import numpy as np
from tvm import relax

from hago.dataflow import constant_value, is_constant, tensor_type
from hago.realize.codes import Codes
from hago.realize.qdq import dequantize
from hago.rebuild import emit
from hago.scheme import Array, Floats, PerAxis, PerGroup, QuantScheme, TensorQuant


def join_groups(
    builder: relax.BlockBuilder, codes: Array, quant: TensorQuant, name: str
) -> relax.Expr:
    """The float weights [k, n] of ``codes`` with a scale for each group of rows, written as the
    concatenation of groups with a scale for each column."""
    granularity = quant.scheme.granularity
    assert isinstance(granularity, PerGroup)
    assert granularity.axis == 0
    scheme = QuantScheme(quant.scheme.dtype, PerAxis(1), quant.scheme.symmetric)
    parts = np.split(codes, len(quant.scale), axis=0)
    real = [
        emit(builder, dequantize(relax.const(np.ascontiguousarray(part)), each), f"{name}_group")
        for part, scale, zero_point in zip(parts, quant.scale, quant.zero_point, strict=True)
        for each in [TensorQuant(scheme, scale, zero_point)]
    ]
    return real[0] if len(real) == 1 else emit(builder, relax.op.concat(real, axis=0), name)


def join_codes(call: relax.Call, parts: list[Codes]) -> Codes | None:
    """What :func:`join_groups` wrote, as codes [k, n] with scales [groups, n]; None for any other
    concatenation, and for groups with zero points."""
    shapes = {tensor_type(part.expr)[0] for part in parts}
    if int(call.attrs.axis) != 0 or len(shapes) != 1 or len(next(iter(shapes))) != 2:
        return None
    is_weight = all(
        is_constant(part.expr) and part.dtype == "int8" and part.scale.ndim == 1
        and part.axis == 1 and not np.any(part.zero_point)
        for part in parts
    )  # fmt: skip
    if not is_weight:
        return None
    codes = np.concatenate([constant_value(part.expr) for part in parts])
    scales = np.stack([part.scale for part in parts])
    return Codes(relax.const(codes), scales, np.zeros(scales.shape, np.int32), 0)


def grouped_value(weight: Codes) -> Floats:
    """The float32 weights [k, n] that ``weight`` of :func:`join_codes` stands for."""
    codes = constant_value(weight.expr)
    scales = np.repeat(weight.scale, len(codes) // len(weight.scale), axis=0)
    real: Floats = codes.astype(np.float32) * scales
    return real


def multiply_groups(builder: relax.BlockBuilder, data: Codes, weight: Codes) -> Codes | None:
    """The float32 product of ``data`` [.., m, k] and ``weight`` of :func:`join_codes`."""
    (*lead, length), dtype = tensor_type(data.expr)
    if not (data.is_per_tensor and dtype in ("int8", "uint8") and lead):
        return None
    groups, width = weight.scale.shape
    codes = constant_value(weight.expr).reshape(groups, length // groups, width)
    scales = (weight.scale * np.float32(data.scale)).astype(np.float32)
    ones, rank = (1,) * (len(lead) - 1), len(lead)
    parts = builder.emit(relax.op.reshape(data.expr, (*lead, groups, length // groups)))
    moved = builder.emit(relax.op.permute_dims(parts, [rank, *range(rank), rank + 1]))
    spread = relax.const(codes.reshape(groups, *ones, length // groups, width))
    total = builder.emit(relax.op.matmul(moved, spread, out_dtype="int32"))
    real = builder.emit(relax.op.astype(total, "float32"))
    factors = relax.const(scales.reshape(groups, *ones, 1, width))
    scaled = builder.emit(relax.op.multiply(real, factors))
    result = builder.emit(relax.op.sum(scaled, axis=[0]))
    if int(data.zero_point):
        sums = codes.sum(axis=1, dtype=np.int64) * -int(data.zero_point)
        shift = (sums * scales.astype(np.float64)).sum(axis=0).astype(np.float32)
        result = builder.emit(relax.op.add(result, relax.const(shift)))
    return Codes(result, np.asarray(1, np.float32), np.asarray(0, np.int32))
