"""quantize and dequantize as Relax expressions: the one place where hago rounds in a graph.

``relax.quantize`` divides, rounds half to even, adds the zero point (8-bit floats have none) and
saturates. Weights that are stored in fewer bits than they are computed in are rounded by a cast to
an 8-bit float.
"""

from __future__ import annotations

import math

import numpy as np
from tvm import relax

from hago.float8 import MEMORY
from hago.scheme import Array, DType, PerAxis, PerTensor, TensorQuant


def quantize(builder: relax.BlockBuilder, real: relax.Expr, quant: TensorQuant) -> relax.Expr:
    """Codes of ``real`` in the dtype in memory of ``quant``'s scheme."""
    dtype = quant.scheme.dtype
    if not dtype.is_quantized:
        return relax.op.astype(real, dtype.storage)
    if dtype.is_integer:
        real = _bounded(builder, real, quant)
    scale, zero_point = constants(quant)
    return relax.op.quantize(real, scale, zero_point, _axis(quant), memory_dtype(dtype))


def _bounded(builder: relax.BlockBuilder, real: relax.Expr, quant: TensorQuant) -> relax.Expr:
    """``real`` within what codes stand for, where their range is not all of their container."""
    dtype = quant.scheme.dtype
    low, high = dtype.code_range
    stored = np.iinfo(dtype.storage)
    if (low, high) == (stored.min, stored.max):
        return real
    bounds = quant.decode(np.array([low, high], dtype.storage))
    return builder.emit(relax.op.clip(real, float(bounds[0]), float(bounds[1])))


def dequantize(codes: relax.Expr, quant: TensorQuant) -> relax.Expr:
    """float32 values of ``codes``."""
    if not quant.scheme.is_quantized:
        return relax.op.astype(codes, "float32")
    scale, zero_point = constants(quant)
    return relax.op.dequantize(codes, scale, zero_point, _axis(quant), "float32")


def memory_dtype(dtype: DType) -> str:
    """TVM's name of what lies in memory."""
    return MEMORY.get(dtype.kind, dtype.storage)


def constant_codes(codes: Array, quant: TensorQuant) -> relax.Expr:
    """``codes``, as ``quant`` encodes, as a constant; those of 8-bit floats are such floats."""
    return relax.const(codes.view(np.dtype(memory_dtype(quant.scheme.dtype))))


def constants(quant: TensorQuant) -> tuple[relax.Expr, relax.Expr]:
    """Scale (float32) and zero point as constants: in the dtype of the codes, or int32, which Relax
    has for floats."""
    dtype = quant.scheme.dtype
    zero_point = quant.zero_point.astype(dtype.storage if dtype.is_integer else "int32")
    return relax.const(np.array(quant.scale)), relax.const(np.array(zero_point))


def round_to_float8(builder: relax.BlockBuilder, value: relax.Expr, kind: str) -> relax.Expr:
    """The nearest value of an 8-bit float, as float32; ``value`` is within its range."""
    narrow = builder.emit(relax.op.astype(value, MEMORY[kind]))
    return relax.op.astype(narrow, "float32")


def decode_stored(
    builder: relax.BlockBuilder, codes: Array, quant: TensorQuant
) -> relax.Expr:
    """float32 weights of ``codes`` that are stored, dequantized from the 8-bit float that they are
    computed in: of constants alone, so that what is kept can be the codes."""
    assert quant.scheme.computed_in is not None
    common = quant.common_scale
    scale, _ = quant.spread(codes.shape)
    real = builder.emit(relax.op.astype(relax.const(codes), "float32"))
    scaled = builder.emit(relax.op.multiply(real, relax.const(np.asarray(scale / common))))
    narrow = builder.emit(relax.op.astype(scaled, MEMORY[quant.scheme.computed_in.kind]))
    zero_point = relax.const(np.int32(0))
    return relax.op.dequantize(narrow, relax.const(common), zero_point, -1, "float32")


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
