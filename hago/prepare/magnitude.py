"""How large the elements of a tensor can be, as far as the calls that make it tell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from tvm import relax

from hago.prepare.expression import constant_of, dtype_of, is_call
from hago.prepare.rewrite import Scope

# Activations are bounded by nothing that a module says. Sums of products of this size would be of
# no use to a softmax, whose steps were 2^76 then.
_PRODUCT = 1e30
_KEEPS = ("reshape", "permute_dims", "broadcast_to", "negative")
# What float32 rounds to its largest number rather than to infinity.
_LARGEST = float(np.finfo(np.float32).max) + 2.0**102


def is_finite(expr: relax.Expr, scope: Scope) -> bool:
    """Whether no element of the float32 tensor is infinite or no number: sums of products of
    activations count as finite, inputs of the model do not."""
    return _magnitude(expr, scope) < _LARGEST


def _magnitude(expr: relax.Expr, scope: Scope) -> float:
    value = constant_of(expr)
    if value is not None:
        largest = float(np.abs(value.astype(np.float64)).max(initial=0.0))
        return math.inf if math.isnan(largest) else largest
    call = scope.definition(expr)
    if is_call(call, "matmul"):
        return _PRODUCT
    if is_call(call, "tanh", "sigmoid"):
        return 1.0
    if is_call(call, "astype"):
        return _of_integers(dtype_of(call.args[0]))
    if is_call(call, *_KEEPS):
        return _magnitude(call.args[0], scope)
    if is_call(call, "where"):
        return max(_magnitudes(call.args[1:], scope))
    if is_call(call, "add", "subtract"):
        return sum(_magnitudes(call.args, scope))
    return math.prod(_magnitudes(call.args, scope)) if is_call(call, "multiply") else math.inf


def _magnitudes(exprs: Sequence[relax.Expr], scope: Scope) -> list[float]:
    return [_magnitude(expr, scope) for expr in exprs]


def _of_integers(dtype: str) -> float:
    """The largest of a type of integers; floats are cast from what may be infinite."""
    if dtype == "bool":
        return 1.0
    return float(-int(np.iinfo(dtype).min) or np.iinfo(dtype).max) if "int" in dtype else math.inf
