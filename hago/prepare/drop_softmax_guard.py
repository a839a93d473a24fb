"""Remove the guard of a softmax against rows without a finite score, where there are none.

where(no score of the row > -inf, 0, softmax(x)) => softmax(x)     if a score of each row is finite

PyTorch decomposes its attention so. Scores are finite if they are sums of products, scaled,
shifted by finite constants and rearranged; a constant mask of them may hide some of each row.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from hago.prepare.expression import constant_of, is_call, scalar_of, shape_of
from hago.prepare.magnitude import is_finite
from hago.prepare.rewrite import Scope, rewrite

_GUARD = ("logical_not", "astype", "max", "any")


def drop_softmax_guard(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which a softmax of rows with finite scores has no guard."""
    return rewrite(module, _drop)


def _drop(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not is_call(call, "where"):
        return None
    guard, zeros, value = call.args
    softmax = scope.call(value, "nn.softmax")
    if softmax is None or not _is_zero(zeros, scope):
        return None
    scores = softmax.args[0]
    return value if _tests(guard, scores, scope) and _has_finite(scores, scope) else None


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
