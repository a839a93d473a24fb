"""Evaluate what does not depend on the inputs, but leave integer weights integers.

op(constants) => constant
permute_dims(dequantize(codes), p) => dequantize(permute_dims(codes, p))
dequantize(int32 codes) => float32 constant: a bias, which is added in float32
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm import relax

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
from hago.prepare.rewrite import Scope, rewrite

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


def fold_constants(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which no call has only constants for operands, except `dequantize`."""
    return rewrite(module, _fold)


def _fold(call: relax.Call, scope: Scope) -> relax.Expr | None:
    moved = _move_inside_dequantize(call, scope)
    if moved is not None:
        return moved
    values = [constant_of(x) for x in call.args if not isinstance(x, relax.ShapeExpr)]
    known = [v for v in values if v is not None]
    if not known or len(known) != len(values):
        return None
    result = _evaluate(call, known)
    return None if result is None else constant(result.astype(dtype_of(call), copy=False))


def _evaluate(call: relax.Call, values: list[Array]) -> Array | None:
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
    return None


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
