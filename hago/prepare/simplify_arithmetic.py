"""One spelling for arithmetic with constants, so that later patterns have one form to match.

c + x => x + c      c * x => x * c      x - c => x + (-c)      x / c => x * (1 / c)
power(x, 2), square(x) => x * x      power(x, 0.5) => sqrt(x)
maximum(x, 0) => relu(x)      clip(x, 0, 6) => clip(x, 0.0, 6.0)
minimum(maximum(x, a), b) => clip(x, a, b)
a constant of one element => a scalar;  [1, 1, C] beside a tensor => [C]
"""

from __future__ import annotations

import math

import numpy as np
import tvm
from tvm import relax

from hago.prepare.expression import (
    Array,
    constant,
    constant_of,
    dtype_of,
    op_name,
    scalar_of,
    shape_of,
)
from hago.prepare.rewrite import Rule, Scope, rewrite

_COMMUTES = ("add", "multiply", "maximum", "minimum")
_BINARY = (*_COMMUTES, "subtract", "divide", "power")


def simplify_arithmetic(module: tvm.IRModule) -> tvm.IRModule:
    """A module whose constant operands come last and are as small as broadcasting allows."""
    return rewrite(module, _simplify)


def _simplify(call: relax.Call, scope: Scope) -> relax.Expr | None:
    name, changed = op_name(call), False
    if name in _BINARY:
        tidied = _tidy_operands(call)
        changed, call = tidied is not call, tidied
    rule = _RULES.get(name)
    simpler = None if rule is None else rule(call, scope)
    return simpler if simpler is not None or not changed else call


def _tidy_operands(call: relax.Call) -> relax.Call:
    left, right = call.args
    if op_name(call) in _COMMUTES and constant_of(left) is not None:
        left, right = right, left
    operands = [_trimmed(left, right, call), _trimmed(right, left, call)]
    if all(a is b for a, b in zip(operands, call.args, strict=True)):
        return call
    return relax.Call(call.op, operands, call.attrs, call.ty_args, ret_ty=call.ty)


def _trimmed(operand: relax.Expr, other: relax.Expr, call: relax.Call) -> relax.Expr:
    """A constant without the axes that broadcasting against `other` supplies."""
    value = constant_of(operand)
    if value is None:
        return operand
    smallest = _smallest(value)
    is_enough = np.broadcast_shapes(smallest.shape, shape_of(other)) == shape_of(call)
    return constant(smallest) if smallest.ndim < value.ndim and is_enough else operand


def _smallest(value: Array) -> Array:
    if value.size > 0 and bool(np.all(value == value.flat[0])):
        return value.flat[0:1].reshape(())
    while value.ndim > 0 and value.shape[0] == 1:
        value = value[0]
    return value


def _is_float_constant(expr: relax.Expr) -> bool:
    return constant_of(expr) is not None and dtype_of(expr) == "float32"


def _subtract(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not _is_float_constant(call.args[1]):
        return None
    return relax.op.add(call.args[0], constant(-_value(call.args[1])))


def _divide(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not _is_float_constant(call.args[1]) or not np.all(_value(call.args[1])):
        return None
    reciprocal = (1.0 / _value(call.args[1]).astype(np.float64)).astype(np.float32)
    return relax.op.multiply(call.args[0], constant(reciprocal))


def _value(expr: relax.Expr) -> Array:
    value = constant_of(expr)
    assert value is not None
    return value


def _power(call: relax.Call, scope: Scope) -> relax.Expr | None:
    exponent = scalar_of(call.args[1])
    if exponent == 2.0:
        return relax.op.multiply(call.args[0], call.args[0])
    return relax.op.sqrt(call.args[0]) if exponent == 0.5 else None


def _square(call: relax.Call, scope: Scope) -> relax.Expr | None:
    return relax.op.multiply(call.args[0], call.args[0])


def _clip(call: relax.Call, scope: Scope) -> relax.Expr | None:
    """relu6 is written ``clip(x, 0, 6)`` with integers, which would be another attribute."""
    bounds = [bound.value for bound in call.args[1:]]
    if dtype_of(call) != "float32" or all(isinstance(bound, float) for bound in bounds):
        return None
    return relax.op.clip(call.args[0], *(float(bound) for bound in bounds))


def _maximum(call: relax.Call, scope: Scope) -> relax.Expr | None:
    low = scalar_of(call.args[1])
    if low is None or dtype_of(call) != "float32":
        return None
    above = scope.call(call.args[0], "minimum")
    high = None if above is None else scalar_of(above.args[1])
    if above is not None and high is not None and low < high:
        return relax.op.clip(above.args[0], low, high)
    return relax.op.nn.relu(call.args[0]) if low == 0.0 else None


def _minimum(call: relax.Call, scope: Scope) -> relax.Expr | None:
    high = scalar_of(call.args[1])
    below = scope.call(call.args[0], "maximum", "nn.relu")
    if high is None or below is None or dtype_of(call) != "float32":
        return None
    low = 0.0 if op_name(below) == "nn.relu" else scalar_of(below.args[1])
    if low is None or not low < high or math.isinf(high):
        return None
    return relax.op.clip(below.args[0], low, high)


_RULES: dict[str, Rule] = {
    "subtract": _subtract,
    "divide": _divide,
    "power": _power,
    "square": _square,
    "clip": _clip,
    "maximum": _maximum,
    "minimum": _minimum,
}
