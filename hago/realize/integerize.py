"""QDQ graph -> integer graph: dequantize moves down as far as it can.

    dequantize(quantize(x))            stays a pair of operations at the border of float32
    op(dequantize(x)..)                => dequantize(op'(x)..)         by the operation's rule
    quantize(dequantize(x, s, z), s, z) => x

bfloat16 goes the same way: casts stand for quantize and dequantize, the scale is 1. Products of
8-bit floats are summed in float32, and their scales multiply the sums.
"""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from hago.dataflow import constant_value, flat_args, is_constant, op_name, tensor_type
from hago.realize.codes import Codes
from hago.realize.grouped import grouped_value
from hago.realize.rules import RULES
from hago.rebuild import Values, emit, rebuild, substitute


def integerize(module: ir.IRModule) -> ir.IRModule:
    """``module`` (QDQ) with every operation that has a rule computed on codes."""
    state = _Codes()
    return relax.transform.DeadCodeElimination()(
        rebuild(module, state.rewrite, finish=state.finish)
    )


class _Codes:
    """The values that are known as codes, by their name in the old module."""

    def __init__(self) -> None:
        self.known: dict[str, Codes] = {}
        self.real: dict[str, relax.Expr] = {}

    def rewrite(
        self, builder: relax.BlockBuilder, binding: relax.Binding, values: Values
    ) -> relax.Expr:
        name, value = str(binding.var.name), binding.value
        op = op_name(value)
        if op == "dequantize":
            return self._dequantized(builder, name, value, values)
        if op == "quantize":
            return self._quantized(builder, value, values)
        if op == "astype":
            return self._cast(builder, name, value, values)
        codes = self._by_rule(builder, op, value)
        if codes is not None and codes.dtype == "float32":
            return _scaled(builder, codes)
        if codes is not None:
            self.known[name] = codes
            return codes.expr
        return substitute(value, self._as_real(builder, value, values))

    def finish(
        self, builder: relax.BlockBuilder, name: str, values: Values
    ) -> relax.Expr:
        return self._real(builder, name, values)

    def _dequantized(
        self, builder: relax.BlockBuilder, name: str, value: relax.Call, values: Values
    ) -> relax.Expr:
        codes, scale, zero_point = value.args
        if not isinstance(scale, relax.Var) and not isinstance(zero_point, relax.Var):
            source = codes if is_constant(codes) else values[str(codes.name)]
            known = Codes(
                source,
                constant_value(scale),
                constant_value(zero_point).astype(np.int32),
                int(value.attrs.axis),
            )
            self.known[name] = _centred(known) if is_constant(codes) else known
            return self.known[name].expr
        return substitute(value, values)

    def _quantized(
        self, builder: relax.BlockBuilder, value: relax.Call, values: Values
    ) -> relax.Expr:
        real, scale, zero_point = value.args
        known = self.known.get(str(getattr(real, "name", "")))
        if known is not None and is_constant(scale) and is_constant(zero_point):
            target = Codes(
                known.expr, constant_value(scale), constant_value(zero_point).astype(np.int32)
            )
            same_dtype = str(value.attrs.out_dtype) == tensor_type(known.expr)[1]
            if same_dtype and target.same_numbers(known):
                return known.expr
        return substitute(value, self._as_real(builder, value, values))

    def _cast(
        self, builder: relax.BlockBuilder, name: str, value: relax.Call, values: Values
    ) -> relax.Expr:
        """To bfloat16: what is bfloat16 behind its float32 value. From it: its values are known."""
        (data,) = value.args
        source, target = tensor_type(data)[1], tensor_type(value)[1]
        known = self.known.get(str(getattr(data, "name", "")))
        if (source, target) == ("bfloat16", "float32"):
            codes = data if is_constant(data) else values[str(data.name)]
            self.known[name] = Codes(codes, np.asarray(1, np.float32), np.asarray(0, np.int32))
            return codes
        if known is not None and known.dtype == target == "bfloat16":
            return known.expr
        return substitute(value, self._as_real(builder, value, values))

    def _by_rule(
        self, builder: relax.BlockBuilder, op: str, value: relax.Expr
    ) -> Codes | None:
        if op not in RULES:
            return None
        inputs = [self.known.get(str(getattr(leaf, "name", ""))) for leaf in flat_args(value)]
        present = [codes for codes in inputs if codes is not None]
        if len(present) != len(inputs):
            return None
        return RULES[op](builder, value, present)

    def _as_real(
        self, builder: relax.BlockBuilder, value: relax.Expr, values: Values
    ) -> Values:
        """``values`` with every argument of ``value`` in float32."""
        local = dict(values)
        for leaf in flat_args(value):
            if isinstance(leaf, relax.Var):
                local[str(leaf.name)] = self._real(builder, str(leaf.name), values)
        return local

    def _real(self, builder: relax.BlockBuilder, name: str, values: Values) -> relax.Expr:
        """The float32 expression of ``name``, dequantized once."""
        if name not in self.known:
            return values[name]
        if name not in self.real:
            real = _real_value(self.known[name])
            self.real[name] = emit(builder, real, f"{name}_real")
        return self.real[name]


def _centred(constant: Codes) -> Codes:
    """``constant`` less its zero points, where that leaves codes of the same type: those of few
    bits. Products then need no sums of what they multiply."""
    if constant.dtype != "int8" or not np.any(constant.zero_point):
        return constant
    codes = constant_value(constant.expr)
    along = [-1 if axis == constant.axis % codes.ndim else 1 for axis in range(codes.ndim)]
    shifted = codes.astype(np.int32) - constant.zero_point.reshape(along or ())
    if shifted.min() < -128 or shifted.max() > 127:
        return constant
    zeros = np.zeros_like(constant.zero_point)
    return Codes(relax.const(shifted.astype(np.int8)), constant.scale, zeros, constant.axis)


def _real_value(codes: Codes) -> relax.Expr:
    """The float32 expression of ``codes``."""
    if codes.scale.ndim == 2:
        return relax.const(grouped_value(codes))
    if codes.dtype == "bfloat16":
        return relax.op.astype(codes.expr, "float32")
    return relax.op.dequantize(
        codes.expr,
        relax.const(np.asarray(codes.scale)),
        relax.const(_zero_point(codes)),
        codes.axis,
        "float32",
    )


def _scaled(builder: relax.BlockBuilder, sums: Codes) -> relax.Expr:
    """The float32 values of float32 ``sums``, whose channels are the last axis."""
    if np.all(sums.scale == 1):
        return sums.expr
    return relax.op.multiply(sums.expr, relax.const(np.asarray(sums.scale)))


def _zero_point(codes: Codes) -> np.ndarray:
    """In the dtype of the codes, as ``relax.dequantize`` asks; int32 of floats."""
    return np.asarray(codes.zero_point).astype(codes.dtype if codes.is_integer else "int32")
