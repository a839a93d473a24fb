"""quantize and dequantize as Relax expressions: the one place where hago rounds in a graph.

Integers use ``relax.quantize`` (divide, round half to even, add the zero point, saturate). 8-bit
floats are kept as the float32 values that they stand for, rounded by a cast to the format and back.
"""

from __future__ import annotations

import math

import numpy as np
from tvm import relax

from hago.float8 import FORMATS
from hago.scheme import Array, PerAxis, PerTensor, TensorQuant

FLOAT8_CASTS = {"float8_e4m3": "float8_e4m3fn", "float8_e5m2": "float8_e5m2"}  # TVM's names


def quantize(builder: relax.BlockBuilder, real: relax.Expr, quant: TensorQuant) -> relax.Expr:
    """Codes of ``real`` in the storage dtype of ``quant``'s scheme; 8-bit floats as values."""
    dtype = quant.scheme.dtype
    if dtype.kind in FORMATS:
        return _quantize_float8(builder, real, quant)
    if not dtype.is_quantized:
        return relax.op.astype(real, dtype.storage)
    low, high = dtype.code_range
    stored = np.iinfo(dtype.storage)
    if (low, high) != (stored.min, stored.max):
        bounds = quant.decode(np.array([low, high], dtype.storage))
        real = builder.emit(relax.op.clip(real, float(bounds[0]), float(bounds[1])))
    scale, zero_point = constants(quant)
    return relax.op.quantize(real, scale, zero_point, _axis(quant), dtype.storage)


def dequantize(codes: relax.Expr, quant: TensorQuant) -> relax.Expr:
    """float32 values of ``codes``."""
    dtype = quant.scheme.dtype
    if dtype.kind in FORMATS:
        return relax.op.multiply(codes, relax.const(np.array(quant.scale)))
    if not dtype.is_quantized:
        return relax.op.astype(codes, "float32")
    scale, zero_point = constants(quant)
    return relax.op.dequantize(codes, scale, zero_point, _axis(quant), "float32")


def constants(quant: TensorQuant) -> tuple[relax.Expr, relax.Expr]:
    """Scale (float32) and zero point (in the dtype of the codes) as constants."""
    zero_point = quant.zero_point.astype(quant.scheme.dtype.storage)
    return relax.const(np.array(quant.scale)), relax.const(np.array(zero_point))


def _quantize_float8(
    builder: relax.BlockBuilder, real: relax.Expr, quant: TensorQuant
) -> relax.Expr:
    kind = quant.scheme.dtype.kind
    scaled = builder.emit(relax.op.divide(real, relax.const(np.array(quant.scale))))
    largest = FORMATS[kind].largest
    clipped = builder.emit(relax.op.clip(scaled, -largest, largest))
    return round_to_float8(builder, clipped, kind)


def round_to_float8(builder: relax.BlockBuilder, value: relax.Expr, kind: str) -> relax.Expr:
    """The nearest value of an 8-bit float, as float32; ``value`` is within its range."""
    narrow = builder.emit(relax.op.astype(value, FLOAT8_CASTS[kind]))
    return relax.op.astype(narrow, "float32")


def decode_stored(
    builder: relax.BlockBuilder, codes: Array, quant: TensorQuant
) -> relax.Expr:
    """float32 weights of ``codes`` that are stored, and computed in an 8-bit float: of constants
    alone, so that what is kept can be the codes."""
    assert quant.scheme.computed_in is not None
    common = quant.common_scale
    scale, _ = quant.spread(codes.shape)
    real = builder.emit(relax.op.astype(relax.const(codes), "float32"))
    scaled = builder.emit(relax.op.multiply(real, relax.const(np.asarray(scale / common))))
    rounded = builder.emit(round_to_float8(builder, scaled, quant.scheme.computed_in.kind))
    return relax.op.multiply(rounded, relax.const(common))


def round_to_mantissa(
    builder: relax.BlockBuilder,
    value: relax.Expr,
    mantissa: relax.Expr,
    min_exponent: int,
    low: relax.Expr,
    high: relax.Expr,
) -> relax.Expr:
    """``value`` clipped to [low, high] and rounded to a multiple of its last mantissa bit.

    The exponent comes from a logarithm. Where that is off by one (next to a power of two) both
    steps round to the power itself.
    """

    def step(operation: relax.Expr) -> relax.Expr:
        return builder.emit(operation)

    clipped = step(relax.op.maximum(step(relax.op.minimum(value, high)), low))
    logarithm = step(relax.op.log(step(relax.op.abs(clipped))))
    exponent = step(relax.op.multiply(logarithm, relax.const(np.float32(1 / math.log(2)))))
    exponent = step(relax.op.maximum(step(relax.op.floor(exponent)),
                                     relax.const(np.float32(min_exponent))))  # fmt: skip
    last_bit = step(relax.op.subtract(exponent, mantissa))
    unit = step(relax.op.power(relax.const(np.float32(2.0)), last_bit))
    return relax.op.multiply(step(relax.op.round(step(relax.op.divide(clipped, unit)))), unit)


def _axis(quant: TensorQuant) -> int:
    granularity = quant.scheme.granularity
    if isinstance(granularity, PerAxis):
        return granularity.axis
    if isinstance(granularity, PerTensor):
        return -1
    raise ValueError("relax.quantize knows scales per tensor and per axis, not per group")
