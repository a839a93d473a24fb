"""Evaluate what does not depend on the inputs, but leave integer weights integers.

op(constants) => constant
permute_dims(dequantize(codes), p) => dequantize(permute_dims(codes, p))
dequantize(int32 codes) => float32 constant: a bias, which is added in float32
"""

from __future__ import annotations

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
    is_call,
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
    if name == "reshape":
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
    if not is_call(call, "permute_dims"):
        return None
    inner = scope.call(call.args[0], "dequantize")
    codes = None if inner is None else constant_of(inner.args[0])
    if inner is None or codes is None:
        return None
    order = permutation_of(call)
    axis = order.index(positive_axes([inner.attrs.axis], codes.ndim)[0])
    is_scalar = constant_of(inner.args[1]) is not None and shape_of(inner.args[1]) == ()
    moved = constant(codes.transpose(order))
    axis = -1 if is_scalar else axis
    return with_changes(inner, [moved, *inner.args[1:]], {"axis": axis})
