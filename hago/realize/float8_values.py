"""8-bit floats as float32, for machines whose products do not take them as they are in memory.

    quantize(x, s)                =>  float32(float8(clip(x / s)))      a value of the format
    float8(x)                     =>  float32(float8(x))
    dequantize(v, s)              =>  v * s
    constants of 8-bit floats     =>  their values
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from tvm import ir, relax

from hago.dataflow import (
    constant_value,
    flat_args,
    is_constant,
    op_name,
    read_dataflow,
    tensor_type,
)
from hago.float8 import FORMATS, KINDS, decode_float8
from hago.realize.qdq import round_to_float8
from hago.rebuild import Values, rebuild, substitute, with_leaves
from hago.scheme import Array


def hold_values(module: ir.IRModule, kept: Collection[str] = ()) -> ir.IRModule:
    """``module`` without 8-bit floats in memory, but those of the dtypes ``kept``."""
    held = KINDS.keys() - set(kept)
    nodes = read_dataflow(module).nodes
    if not any(_dtypes(node.value) & held for node in nodes):
        return module

    def rewrite(builder: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        value = binding.value
        name = op_name(value)
        if name == "quantize" and tensor_type(binding.var)[1] in held:
            return _rounded(builder, value, values)
        if name == "astype" and tensor_type(binding.var)[1] in held:
            kind = KINDS[tensor_type(binding.var)[1]]
            return round_to_float8(builder, substitute(value.args[0], values), kind)
        if name == "dequantize" and tensor_type(value.args[0])[1] in held:
            real, scale = (_held(leaf, values, held) for leaf in value.args[:2])
            return relax.op.multiply(real, _along(scale, value))
        replaced = {
            number: _held(leaf, values, held)
            for number, leaf in enumerate(flat_args(value))
            if is_constant(leaf)
        }
        return _without_cast(substitute(with_leaves(value, replaced), values))

    return rebuild(module, rewrite)


def _dtypes(value: relax.Expr) -> set[str]:
    """The element types of a binding's value and of what it reads."""
    return {tensor_type(leaf)[1] for leaf in (value, *flat_args(value))}


def _rounded(builder: relax.BlockBuilder, call: relax.Call, values: Values) -> relax.Expr:
    kind = KINDS[str(call.attrs.out_dtype)]
    real, scale = (substitute(leaf, values) for leaf in call.args[:2])
    scaled = builder.emit(relax.op.divide(real, _along(scale, call)))
    largest = FORMATS[kind].largest
    clipped = builder.emit(relax.op.clip(scaled, -largest, largest))
    return round_to_float8(builder, clipped, kind)


def _held(leaf: relax.Expr, values: Values, held: Collection[str]) -> relax.Expr:
    """``leaf`` in the new module: a constant of 8-bit floats as its values."""
    if not is_constant(leaf):
        return substitute(leaf, values)
    dtype = tensor_type(leaf)[1]
    return relax.const(decoded(constant_value(leaf))) if dtype in held else leaf


def decoded(codes: Array) -> Array:
    """The float32 values of an array of 8-bit floats."""
    return decode_float8(codes.view(np.uint8), KINDS[str(codes.dtype)])


def _along(scale: relax.Expr, call: relax.Call) -> relax.Expr:
    """``scale``, as it broadcasts along the axis that ``call`` names."""
    numbers = constant_value(scale)
    if numbers.size == 1:
        return relax.const(numbers.reshape(()))
    rank = len(tensor_type(call.args[0])[0])
    wide = [-1 if axis == int(call.attrs.axis) % rank else 1 for axis in range(rank)]
    return relax.const(numbers.reshape(wide))


def _without_cast(value: relax.Expr) -> relax.Expr:
    """What is float32 already needs no cast to it."""
    if op_name(value) != "astype" or str(value.attrs.dtype) != "float32":
        return value
    (data,) = value.args
    return data if tensor_type(data)[1] == "float32" else value
