"""Remove operators that return their input.

dropout(x)[0] => x      astype(x, its dtype) => x      reshape(x, its shape) => x
permute_dims(x, in order) => x      broadcast_to(x, its shape) => x
x + 0, x - 0, x * 1, x / 1 => x
permute_dims(permute_dims(x, p), q) => permute_dims(x, p[q])
permute_dims(x, only unit axes move) => reshape(x)
x + broadcast_to(y) => x + y
reshape(reshape(x)) => reshape(x)      squeeze, expand_dims, flatten => reshape
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from hago.prepare.expression import (
    dtype_of,
    is_call,
    op_name,
    permutation_of,
    scalar_of,
    shape_of,
    with_changes,
)
from hago.prepare.rewrite import Scope, rewrite

_NEUTRAL = {"add": 0.0, "subtract": 0.0, "multiply": 1.0, "divide": 1.0}
_BROADCASTS = ("add", "divide", "maximum", "minimum", "multiply", "power", "subtract", "where")
_RESHAPES = ("reshape", "squeeze", "expand_dims", "flatten", "nn.batch_flatten")


def remove_identities(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which every data movement moves something and every reshape is ``reshape``."""
    return rewrite(module, _simplify)


def _simplify(call: relax.Call, scope: Scope) -> relax.Expr | None:
    name = op_name(call)
    if name == "nn.dropout":
        return relax.Tuple([call.args[0], call.args[0]])
    if name in _NEUTRAL and _is_neutral(call):
        return call.args[0]
    if name == "astype" and dtype_of(call.args[0]) == dtype_of(call):
        return call.args[0]
    if name == "broadcast_to" and shape_of(call.args[0]) == shape_of(call):
        return call.args[0]
    if name in _BROADCASTS:
        return _without_broadcast(call, scope)
    if name in _RESHAPES:
        return _reshape(call, scope)
    if name == "permute_dims":
        return _permute(call, scope)
    return None


def _without_broadcast(call: relax.Call, scope: Scope) -> relax.Expr | None:
    """An elementwise operator broadcasts by itself."""
    given = [scope.call(x, "broadcast_to") for x in call.args]
    operands = [x if b is None else b.args[0] for x, b in zip(call.args, given, strict=True)]
    shapes = [shape_of(x) for x in operands]
    if all(b is None for b in given) or np.broadcast_shapes(*shapes) != shape_of(call):
        return None
    return with_changes(call, operands, {})


def _is_neutral(call: relax.Call) -> bool:
    same_type = shape_of(call) == shape_of(call.args[0])
    return same_type and scalar_of(call.args[1]) == _NEUTRAL[op_name(call)]


def _reshape(call: relax.Call, scope: Scope) -> relax.Expr | None:
    source = _unshaped(call.args[0], scope)
    if shape_of(source) == shape_of(call):
        return source
    is_simplest = is_call(call, "reshape") and source is call.args[0]
    return None if is_simplest else relax.op.reshape(source, shape_of(call))


def _unshaped(x: relax.Expr, scope: Scope) -> relax.Expr:
    """What `x` is before all the reshapes that end in it."""
    inner = scope.call(x, "reshape")
    return x if inner is None else _unshaped(inner.args[0], scope)


def _permute(call: relax.Call, scope: Scope) -> relax.Expr | None:
    source, axes = call.args[0], permutation_of(call)
    inner = scope.call(source, "permute_dims")
    if inner is not None:
        first = permutation_of(inner)
        source, axes = inner.args[0], [first[a] for a in axes]
    if axes == sorted(axes):
        return source
    moving = [a for a in axes if shape_of(source)[a] != 1]
    if moving == sorted(moving):
        return relax.op.reshape(_unshaped(source, scope), shape_of(call))
    return None if inner is None else relax.op.permute_dims(source, axes)
