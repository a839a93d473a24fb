"""Evaluate what does not depend on the inputs, but leave integer weights integers.

op(constants) => constant
permute_dims(dequantize(codes), p) => dequantize(permute_dims(codes, p)), and so for reshapes
dequantize(int32 codes) => float32 constant: a bias, which is added in float32
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

from hago.by_tvm import value_by_tvm
from hago.prepare.expression import (
    Array,
    constant,
    constant_of,
    dequantized_value,
    dtype_of,
    op_name,
    permutation_of,
    positive_axes,
    shape_of,
    with_changes,
)
from hago.prepare.rewrite import Scope, operands, rewrite

_ELEMENTWISE: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "power": np.power,
    "negative": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "matmul": np.matmul,
}
_MOVES = ("permute_dims", "reshape", "squeeze", "expand_dims", "flatten")
# Calls of what is no operation of Relax, and what TVM's machine does.
_CALLS = ("call_", "builtin", "memory", "vm", "null_value", "print", "assert_op", "invoke", "hint")


def fold_constants(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which no call has only constants for operands, except `dequantize`."""
    return rewrite(module, _fold)


def _fold(call: relax.Call, scope: Scope) -> relax.Expr | None:
    moved = _move_inside_dequantize(call, scope)
    if moved is not None:
        return moved
    if not _is_computable(call):
        return None
    values = [_value(arg) for arg in call.args]
    result = _evaluate(call, values)
    return None if result is None else constant(result.astype(dtype_of(call), copy=False))


def _is_computable(call: relax.Call) -> bool:
    """Whether an operation of Relax gives one tensor that depends on constants alone."""
    name = op_name(call)
    is_known = bool(name) and not name.startswith(_CALLS) and isinstance(call.ty, relax.TensorType)
    return is_known and not any(True for arg in call.args for _ in operands(arg))


def _value(arg: relax.Expr) -> Any:
    """The constants in an argument as arrays; shapes and numbers stay in the call."""
    if isinstance(arg, relax.Tuple):
        return tuple(_value(field) for field in arg.fields)
    return constant_of(arg)


def _evaluate(call: relax.Call, values: list[Any]) -> Array | None:
    name = op_name(call)
    if name in _ELEMENTWISE:
        return _ELEMENTWISE[name](*values)
    if name == "permute_dims":
        return values[0].transpose(permutation_of(call))
    if name in _MOVES:
        return values[0].reshape(shape_of(call))
    if name == "astype":
        return values[0]
    if name == "dequantize" and values[0].dtype == np.int32:
        return dequantized_value(call)
    if name in ("quantize", "dequantize"):
        return None
    found: Array = value_by_tvm(call, values)
    return found


def _move_inside_dequantize(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if op_name(call) not in _MOVES:
        return None
    inner = scope.call(call.args[0], "dequantize")
    codes = None if inner is None else constant_of(inner.args[0])
    if inner is None or codes is None:
        return None
    shape = shape_of(call)
    if op_name(call) == "permute_dims":
        moved = codes.transpose(permutation_of(call))
    else:
        moved = codes.reshape(shape)
    numbers = [constant_of(arg) for arg in inner.args[1:]]
    if all(number is not None and number.size == 1 for number in numbers):
        scalars = [constant(number.reshape(())) for number in numbers if number is not None]
        return with_changes(inner, [constant(moved), *scalars], {"axis": -1})
    axis = _axis_behind(call, positive_axes([inner.attrs.axis], codes.ndim)[0])
    if axis is None:
        return None
    return with_changes(inner, [constant(moved), *inner.args[1:]], {"axis": axis})


def _axis_behind(call: relax.Call, axis: int) -> int | None:
    """Where ``axis`` of what is moved lies in the result; None where it was cut or joined."""
    if op_name(call) == "permute_dims":
        return permutation_of(call).index(axis)
    source, target = shape_of(call.args[0]), shape_of(call)
    before = math.prod(source[:axis])
    ends = (place for place, size in enumerate(target) if size == source[axis])
    return next((place for place in ends if math.prod(target[:place]) == before), None)
