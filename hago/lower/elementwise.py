"""Relax's elementwise operations as epilogue steps: the table where new ones are added.

A row gets the expression under construction, the operation and its arguments, and returns the
value of the result. Constants arrive as numpy arrays, shaped to broadcast against the kernel's
output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tvm import relax

from hago.dataflow import Node, is_constant, tensor_type
from hago.float8 import KINDS
from hago.lower.expression import Expression, Term, Value
from hago.scheme import Array

Row = Callable[[Expression, Node, Sequence[Term]], Value]

# What lies in memory and in registers; everything else is left to TVM.
DTYPES = frozenset({"float32", "bfloat16", "int64", "int32", "uint8", "int8", *KINDS})


def is_elementwise(node: Node) -> bool:
    """True if :func:`translate` knows ``node``."""
    if node.op not in ROWS or node.dtype not in DTYPES:
        return False
    tensors = [leaf for leaf in node.call.args if isinstance(leaf, relax.Var) or is_constant(leaf)]
    if any(tensor_type(leaf)[1] not in DTYPES for leaf in tensors):
        return False
    if node.op == "nn.prelu" and int(node.call.attrs.axis) not in (-1, len(node.shape) - 1):
        return False
    if node.op in ("quantize", "dequantize"):
        return all(is_constant(number) for number in node.call.args[1:])
    return node.dtype == "float32" or node.op == "astype" or _is_integer_sum(node)


def _is_integer_sum(node: Node) -> bool:
    return node.op in INTEGER_OPS.get(node.dtype, ())


def translate(expression: Expression, node: Node, args: Sequence[Term]) -> Value:
    """The value of ``node`` on ``args``, as new steps of ``expression``."""
    return ROWS[node.op](expression, node, args)


def value_of(expression: Expression, term: Term) -> Value:
    """``term`` as a value: constants become operands."""
    if isinstance(term, Value):
        return term
    return expression.operand(term, term.shape, str(term.dtype))


def _scalar(term: Term) -> float | None:
    """The number that ``term`` is, if it is one."""
    if isinstance(term, Value) or term.size != 1:
        return None
    return float(term.reshape(()))


def _step(op: str) -> Row:
    """The operation is one step."""
    return lambda expression, node, args: expression.step(
        op, *(value_of(expression, arg) for arg in args)
    )


def _with_constant(op: str, sign: int = 1) -> Row:
    """``op``, or ``op_const`` where the second argument (any, if ``op`` commutes) is a number."""

    def row(expression: Expression, node: Node, args: Sequence[Term]) -> Value:
        if node.dtype in INTEGER_OPS:
            return _integer(expression, f"{op}_{node.dtype}", args, node.dtype)
        left, right = args
        if op in ("add", "multiply") and _scalar(left) is not None:
            left, right = right, left
        number = _scalar(right)
        if number is None or not isinstance(left, Value):
            return expression.step(op, *(value_of(expression, arg) for arg in (left, right)))
        if op == "subtract":
            return expression.step("add_const", left, consts=(-number,))
        return expression.step(f"{op}_const", left, consts=(number,))

    return row


def _integer(expression: Expression, op: str, args: Sequence[Term], dtype: str) -> Value:
    values = [value_of(expression, arg) for arg in args]
    return expression.step(op, *values, dtype=dtype)


def _shift_right(expression: Expression, node: Node, args: Sequence[Term]) -> Value:
    return _integer(expression, f"shift_right_{node.dtype}", args, node.dtype)


def _clip(expression: Expression, node: Node, args: Sequence[Term]) -> Value:
    low, high = (float(getattr(arg.value, "value", arg.value)) for arg in node.call.args[1:3])
    is_integer = node.dtype in INTEGER_OPS
    op, dtype = (f"clip_{node.dtype}", node.dtype) if is_integer else ("clip", "float32")
    return expression.step(op, value_of(expression, args[0]), consts=(low, high), dtype=dtype)


def _square(expression: Expression, node: Node, args: Sequence[Term]) -> Value:
    value = value_of(expression, args[0])
    return expression.step("multiply", value, value)


def _absolute(expression: Expression, node: Node, args: Sequence[Term]) -> Value:
    value = value_of(expression, args[0])
    return expression.step("maximum", value, expression.step("negative", value))


def _rsqrt(expression: Expression, node: Node, args: Sequence[Term]) -> Value:
    one = expression.operand(np.asarray(1, np.float32), (), "float32")
    return expression.step("divide", one, expression.step("sqrt", value_of(expression, args[0])))


def _leaky_relu(expression: Expression, node: Node, args: Sequence[Term]) -> Value:
    """max(x, 0) + alpha min(x, 0), as max(x, 0) - alpha max(-x, 0)."""
    value = value_of(expression, args[0])
    negative = expression.step("relu", expression.step("negative", value))
    scaled = expression.step("multiply_const", negative, consts=(float(node.call.attrs.alpha),))
    return expression.step("subtract", expression.step("relu", value), scaled)


def _prelu(expression: Expression, node: Node, args: Sequence[Term]) -> Value:
    """The same with an alpha for each element of the last axis."""
    value = value_of(expression, args[0])
    negative = expression.step("relu", expression.step("negative", value))
    scaled = expression.step("multiply", negative, value_of(expression, args[1]))
    return expression.step("subtract", expression.step("relu", value), scaled)


def _cast(expression: Expression, node: Node, args: Sequence[Term]) -> Value:
    value = value_of(expression, args[0])
    if node.dtype in KINDS:  # rounded, and float32 still
        return expression.step(node.dtype, value)
    if node.dtype == "float32":
        return _widened(expression, value)
    if node.dtype == value.dtype:
        return value
    op = "from_bfloat16" if value.dtype == "bfloat16" else node.dtype
    return expression.step(op, value, dtype=node.dtype)


def _widened(expression: Expression, value: Value) -> Value:
    """``value`` in float32."""
    if value.dtype == "float32":
        return value
    if value.dtype == "bfloat16":
        return expression.step("from_bfloat16", value)
    return expression.step(f"decode_{value.dtype}" if value.dtype in KINDS else "float", value)


def _dequantize(expression: Expression, node: Node, args: Sequence[Term]) -> Value:
    """(x - zero point) * scale, both in float32: exact differences up to 2^24."""
    value, scale, zero_point = args
    real = _widened(expression, value_of(expression, value))
    if isinstance(zero_point, Value) or isinstance(scale, Value):
        raise TypeError(f"{node.name}: scale and zero point are constants")
    if np.any(zero_point != 0):
        real = _apply(expression, "add", real, -zero_point.astype(np.float32))
    return _apply(expression, "multiply", real, scale.astype(np.float32))


def _quantize(expression: Expression, node: Node, args: Sequence[Term]) -> Value:
    """Round half to even of x / scale, shifted by the zero point, saturated."""
    value, scale, zero_point = args
    real = value_of(expression, value)
    if isinstance(zero_point, Value) or isinstance(scale, Value):
        raise TypeError(f"{node.name}: scale and zero point are constants")
    if node.dtype in KINDS:
        scaled = _apply(expression, "multiply", real, np.float32(1) / scale.astype(np.float32))
        return expression.step(f"encode_{node.dtype}", scaled, dtype=node.dtype)
    bounds = np.iinfo(node.dtype)
    limits = (float(bounds.min), float(bounds.max))
    if scale.size == 1 and zero_point.size == 1:
        numbers = (float(scale.reshape(())), float(zero_point.reshape(())))
        codes = expression.step("quantize", real, consts=(*numbers, *limits))
    else:
        codes = _apply(expression, "multiply", real, np.float32(1) / scale.astype(np.float32))
        codes = expression.step("round", codes)
        codes = _apply(expression, "add", codes, zero_point.astype(np.float32))
        codes = expression.step("clip", codes, consts=limits)
    return expression.step(node.dtype, codes, dtype=node.dtype)


def _apply(expression: Expression, op: str, value: Value, constant: Array) -> Value:
    """``op`` of a value and a constant: a number in the code, or an operand."""
    if constant.size == 1:
        return expression.step(f"{op}_const", value, consts=(float(constant.reshape(())),))
    return expression.step(op, value, value_of(expression, constant))


# Operations that also have a meaning on integers: sums and zero-point corrections; fixed point.
INTEGER_OPS: dict[str, frozenset[str]] = {
    "int32": frozenset({"add", "subtract", "multiply"}),
    "int64": frozenset({"add", "subtract", "multiply", "right_shift", "clip"}),
}

ROWS: dict[str, Row] = {
    "add": _with_constant("add"),
    "subtract": _with_constant("subtract"),
    "multiply": _with_constant("multiply"),
    "divide": _with_constant("divide"),
    "maximum": _step("maximum"),
    "minimum": _step("minimum"),
    "negative": _step("negative"),
    "nn.relu": _step("relu"),
    "clip": _clip,
    "right_shift": _shift_right,
    "round": _step("round"),
    "exp": _step("exp"),
    "sqrt": _step("sqrt"),
    "rsqrt": _rsqrt,
    "sigmoid": _step("sigmoid"),
    "tanh": _step("tanh"),
    "erf": _step("erf"),
    "nn.gelu": _step("gelu"),
    "nn.gelu_tanh": _step("gelu_tanh"),
    "nn.silu": _step("silu"),
    "nn.leakyrelu": _leaky_relu,
    "nn.prelu": _prelu,
    "square": _square,
    "abs": _absolute,
    "astype": _cast,
    "dequantize": _dequantize,
    "quantize": _quantize,
}
