"""Weights of an imported model, as the signed bytes that machines multiply with.

    dequantize(w, s, z)  =>  dequantize(w - z, s, 0)            where w - z fits a signed byte
    dequantize(w, s, z)  =>  dequantize(w - 128, s, z - 128)    for other unsigned bytes
"""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from hago.dataflow import constant_value, flat_args, is_constant, op_name
from hago.rebuild import Values, rebuild, substitute
from hago.scheme import Array

_BYTE = np.iinfo(np.int8)


def recode_weights(module: ir.IRModule) -> ir.IRModule:
    """``module`` with constant 8-bit codes in int8, and without zero points where possible."""

    def rewrite(_: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        call = binding.value
        if op_name(call) != "dequantize" or not all(map(is_constant, flat_args(call))):
            return substitute(call, values)
        codes, scale, zero_point = map(constant_value, call.args)
        if codes.dtype not in (np.int8, np.uint8):
            return call
        signed, shift = signed_codes(codes, zero_point, int(call.attrs.axis))
        numbers = (relax.const(signed), relax.const(scale), relax.const(shift))
        return relax.op.dequantize(*numbers, int(call.attrs.axis), "float32")

    return rebuild(module, rewrite)


def signed_codes(codes: Array, zero_point: Array, axis: int) -> tuple[Array, Array]:
    """int8 codes and zero points of the same numbers; ``zero_point`` is ``()`` or ``(n,)``."""
    shape = [1] * codes.ndim
    if zero_point.size > 1:
        shape[axis] = -1
    centred = codes.astype(np.int16) - zero_point.astype(np.int16).reshape(shape)
    if _BYTE.min <= centred.min() and centred.max() <= _BYTE.max:
        return centred.astype(np.int8), np.zeros(zero_point.shape, np.int8)
    shift = 128 if codes.dtype == np.uint8 else 0
    both = (array.astype(np.int16) - shift for array in (codes, zero_point))
    signed, moved = (array.astype(np.int8) for array in both)
    return signed, moved
