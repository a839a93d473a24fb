"""Remove the guard of a softmax against rows without a finite score, or put it behind products.

where(no score of the row > -inf, 0, softmax(x)) => softmax(x)     if a score of each row is finite
where(no score of the row > -inf, 0, softmax(x + m)) v => softmax(x + max(m, lowest)) v n

PyTorch decomposes its attention so. Scores are finite if they are sums of products, scaled,
shifted by finite constants and rearranged; a constant mask of them may hide some of each row. Of a
mask ``m`` that is known only when the model runs, ``n`` is 1 for rows that it leaves something and
0 for others. The mask has no heads, and often one row: that is far less work than comparing all
scores, and attention stays what one kernel computes.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from hago.prepare.expression import (
    constant,
    constant_of,
    is_call,
    rank_of,
    scalar_of,
    shape_of,
)
from hago.prepare.magnitude import is_finite
from hago.prepare.rewrite import Scope, rewrite

_LOWEST = np.finfo(np.float32).min
_GUARD = ("logical_not", "astype", "max", "any")


def drop_softmax_guard(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which a softmax of rows with finite scores has no guard."""
    return rewrite(module, _drop)


def _drop(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if is_call(call, "matmul"):
        return _postponed(call, scope)
    value = _guarded(call, scope)
    if value is None:
        return None
    softmax = scope.call(value, "nn.softmax")
    return value if softmax is not None and _has_finite(softmax.args[0], scope) else None


def _guarded(call: relax.Expr, scope: Scope) -> relax.Expr | None:
    """The softmax, over the last axis, that ``call`` guards."""
    if not is_call(call, "where"):
        return None
    guard, zeros, value = call.args
    softmax = scope.call(value, "nn.softmax")
    if softmax is None or int(softmax.attrs.axis) % rank_of(call) != rank_of(call) - 1:
        return None
    return value if _is_zero(zeros, scope) and _tests(guard, softmax.args[0], scope) else None


def _postponed(call: relax.Call, scope: Scope) -> relax.Expr | None:
    """The product with a guard of its rows instead of one of its left operand."""
    value = _guarded(scope.definition(call.args[0]), scope)
    softmax = None if value is None else scope.call(value, "nn.softmax")
    total = None if softmax is None else scope.call(softmax.args[0], "add")
    if total is None or shape_of(total)[-1] != shape_of(total.args[1])[-1]:
        return None
    scores, mask = total.args
    if not is_finite(scores, scope) or rank_of(mask) > rank_of(scores):
        return None
    lowest = constant(np.float32(_LOWEST))
    # The mask's maximum does not tell: TVM's of nothing but minus infinity is the lowest number.
    shown = scope.emit(relax.op.astype(scope.emit(relax.op.greater_equal(mask, lowest)), "float32"))
    counts = scope.emit(relax.op.max(shown, [-1], keepdims=True))
    masked = scope.emit(relax.op.add(scores, scope.emit(relax.op.maximum(mask, lowest))))
    shares = scope.emit(relax.op.nn.softmax(masked, axis=-1))
    return relax.op.multiply(scope.emit(relax.op.matmul(shares, call.args[1])), counts)


def _is_zero(expr: relax.Expr, scope: Scope) -> bool:
    filled = scope.call(expr, "full_like", "full", "zeros_like", "zeros")
    if filled is not None:
        is_full = is_call(filled, "full_like", "full")
        return not is_full or scalar_of(filled.args[1]) == 0
    value = constant_of(expr)
    return value is not None and not np.any(value)


def _tests(expr: relax.Expr, scores: relax.Expr, scope: Scope) -> bool:
    """Whether ``expr`` depends on nothing but where ``scores`` are minus infinity."""
    step = scope.call(expr, *_GUARD)
    while step is not None:
        expr = step.args[0]
        step = scope.call(expr, *_GUARD)
    compared = scope.call(expr, "equal")
    if compared is None or not compared.args[0].same_as(scores):
        return False
    return scalar_of(compared.args[1]) == -np.inf


def _has_finite(scores: relax.Expr, scope: Scope) -> bool:
    """Whether each row has a finite score, and no score is infinity or no number."""
    if is_finite(scores, scope):
        return True
    total = scope.call(scores, "add")
    if total is None:
        return False
    masked, mask = total.args[0], constant_of(total.args[1])
    if mask is None or mask.ndim == 0 or mask.shape[-1] != shape_of(scores)[-1]:
        return False
    shown = np.isfinite(mask)
    is_mask = bool(np.all(shown | (mask == -np.inf)) and shown.any(axis=-1).all())
    return is_mask and is_finite(masked, scope)
