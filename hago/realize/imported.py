"""A model that came quantized -> the integer module that the machine computes."""

from __future__ import annotations

from tvm import ir

from hago.hardware.spec import HardwareSpec
from hago.realize.lift import lift_codes
from hago.realize.realize import realize_qdq
from hago.realize.signs import Signs, match_signs
from hago.realize.weights import recode_weights


def realize_imported(module: ir.IRModule, spec: HardwareSpec) -> ir.IRModule:
    """The integer form of a prepared ``module`` that carries quantize and dequantize.

    Scales, and the numbers that codes stand for, stay those of the file; the bytes become those
    that ``spec`` multiplies.
    """
    rows = [row for row in spec.rows("conv2d") if row.inputs[0].dtype.is_integer]
    if not rows:
        return realize_qdq(module)
    data, weight = (operand.dtype.storage for operand in rows[0].inputs[:2])
    module = match_signs(recode_weights(lift_codes(module)), Signs(data, weight))
    return realize_qdq(module, rows[0].requantize)
