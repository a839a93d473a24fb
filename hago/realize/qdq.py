"""quantize and dequantize as Relax expressions: the one place where hago rounds in a graph.

Integers use ``relax.quantize`` (divide, round half to even, add the zero point, saturate).
"""

from __future__ import annotations

import numpy as np
from tvm import relax

from hago.scheme import PerAxis, PerTensor, TensorQuant


def quantize(builder: relax.BlockBuilder, real: relax.Expr, quant: TensorQuant) -> relax.Expr:
    """Codes of ``real`` in the storage dtype of ``quant``'s scheme."""
    dtype = quant.scheme.dtype
    if not dtype.is_quantized:
        return relax.op.astype(real, dtype.storage)
    low, high = dtype.code_range
    stored = np.iinfo(dtype.storage)
    if (low, high) != (stored.min, stored.max):
        bounds = quant.decode(np.array([low, high], dtype.storage))
        clipped = relax.op.clip(real, float(bounds[0]), float(bounds[1]))
        real = builder.emit(clipped)
    scale, zero_point = constants(quant)
    return relax.op.quantize(real, scale, zero_point, _axis(quant), dtype.storage)


def dequantize(codes: relax.Expr, quant: TensorQuant) -> relax.Expr:
    """float32 values of ``codes``."""
    if not quant.scheme.dtype.is_quantized:
        return relax.op.astype(codes, "float32")
    scale, zero_point = constants(quant)
    return relax.op.dequantize(codes, scale, zero_point, _axis(quant), "float32")


def constants(quant: TensorQuant) -> tuple[relax.Expr, relax.Expr]:
    """Scale (float32) and zero point (in the dtype of the codes) as constants."""
    zero_point = quant.zero_point.astype(quant.scheme.dtype.storage)
    return relax.const(np.array(quant.scale)), relax.const(np.array(zero_point))


def _axis(quant: TensorQuant) -> int:
    granularity = quant.scheme.granularity
    if isinstance(granularity, PerAxis):
        return granularity.axis
    if isinstance(granularity, PerTensor):
        return -1
    raise ValueError("relax.quantize knows scales per tensor and per axis, not per group")
