"""Write constant masks of scores as sums, which the kernel of the scores computes on the way.

where(mask, -inf, x) => x + (mask ? -inf : 0)                      if every x is finite
softmax(where(mask, low, x)) => softmax(x + (mask ? -inf : 0))     if each row has some x left

A score under `low` of -1e9 and less has no share beside any other, which the second takes for
granted of the scores: with -inf for `low` it has none beside any number.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from hago.prepare.expression import Array, constant, constant_of, is_call, rank_of, scalar_of
from hago.prepare.magnitude import is_finite
from hago.prepare.rewrite import Scope, rewrite

_LOW = -1e9


def masks_to_sums(module: tvm.IRModule) -> tvm.IRModule:
    """A module that adds its constant masks."""
    return rewrite(module, _rule)


def _rule(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if is_call(call, "where"):
        mask = _mask_of(call)
        is_exact = mask is not None and mask[1] == -np.inf
        return _masked(call, scope) if is_exact else None
    if not is_call(call, "nn.softmax"):
        return None
    rank, scores = rank_of(call), scope.call(call.args[0], "where")
    mask = None if scores is None else _mask_of(scores)
    if scores is None or mask is None or int(call.attrs.axis) % rank != rank - 1:
        return None
    hidden, low = mask
    if low > _LOW or hidden.ndim == 0 or hidden.all(axis=-1).any():
        return None
    masked = _masked(scores, scope)
    return None if masked is None else relax.op.nn.softmax(scope.emit(masked), axis=-1)


def _mask_of(call: relax.Call) -> tuple[Array, float] | None:
    """Where a number stands for what is masked, and the number."""
    condition, first, second = call.args
    mask = constant_of(condition)
    if mask is None:
        return None
    low = scalar_of(first)
    if low is not None:
        return mask.astype(bool), low
    low = scalar_of(second)
    return None if low is None else (~mask.astype(bool), low)


def _masked(call: relax.Call, scope: Scope) -> relax.Expr | None:
    """The sum; None where what is masked may be infinite."""
    mask = _mask_of(call)
    scores = call.args[2] if scalar_of(call.args[1]) is not None else call.args[1]
    if mask is None or not is_finite(scores, scope):
        return None
    hidden, _ = mask
    return relax.op.add(scores, constant(np.where(hidden, np.float32(-np.inf), np.float32(0))))
