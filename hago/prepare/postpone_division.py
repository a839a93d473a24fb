"""Divide by the sums of a softmax behind the product that reads it.

softmax(s) v => (e v) * (1 / sum(e))      e = exp(s - max(s)), over the last axis

The division is of a row of the product instead of a row of the (longer) softmax. Quantized, every
row of e reaches from 0 to 1, so that one scale fits all of them, and what its rounding adds to a
row is in its sum, too. FlashAttention-2 (arXiv 2307.08691, section 3.1.1) divides last, and
SageAttention (arXiv 2410.02367) rounds e with the one scale.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from hago.prepare.expression import constant, constant_of, is_call, rank_of
from hago.prepare.rewrite import Scope, rewrite


def postpone_division(module: tvm.IRModule) -> tvm.IRModule:
    """A module whose softmax is divided behind its product, where that is all that reads it."""
    return rewrite(module, _postpone)


def _postpone(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not is_call(call, "matmul"):
        return None
    shares, values = call.args
    softmax = scope.call(shares, "nn.softmax")
    if softmax is None or constant_of(values) is not None or not scope.is_used_once(shares):
        return None
    rank = rank_of(shares)
    if int(softmax.attrs.axis) % rank != rank - 1 or rank_of(values) < 2:
        return None
    (scores,) = softmax.args
    largest = scope.emit(relax.op.max(scores, axis=[-1], keepdims=True))
    powers = scope.emit(relax.op.exp(scope.emit(relax.op.subtract(scores, largest))))
    total = scope.emit(relax.op.sum(powers, axis=[-1], keepdims=True))
    factor = scope.emit(relax.op.divide(constant(np.asarray(1, np.float32)), total))
    product = scope.emit(relax.op.matmul(powers, values, out_dtype=call.attrs.out_dtype))
    return relax.op.multiply(product, factor)
