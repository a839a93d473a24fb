"""Let the weight take the reordering that flattening a channels-last tensor needs.

matmul(reshape(permute_dims(x, p), [N, K]), w) => matmul(reshape(x, [N, K]), w[reordered rows])
"""

from __future__ import annotations

import math

import numpy as np
import tvm
from tvm import relax

from hago.prepare.expression import (
    constant,
    constant_of,
    is_call,
    permutation_of,
    shape_of,
    with_changes,
)
from hago.prepare.rewrite import Scope, rewrite


def absorb_flatten(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which no flatten before a constant matmul moves data."""
    return rewrite(module, _absorb)


def _absorb(call: relax.Call, scope: Scope) -> relax.Expr | None:
    chain = _codecs(call.args[0], scope) if is_call(call, "matmul") else []
    flat = scope.call(chain[-1].args[0] if chain else call.args[0], "reshape")
    moved = None if flat is None else scope.call(flat.args[0], "permute_dims")
    if flat is None or moved is None or not is_call(call, "matmul"):
        return None
    order, shape = permutation_of(moved), shape_of(moved)
    flattens_rows = order[0] == 0 and shape_of(flat) == (shape[0], math.prod(shape[1:]))
    weight = _reordered(call.args[1], order, shape, scope) if flattens_rows else None
    if weight is None:
        return None
    x = relax.op.reshape(moved.args[0], shape_of(flat))
    for codec in reversed(chain):
        x = with_changes(codec, [x, *codec.args[1:]], {})
    return relax.op.matmul(x, weight)


def _codecs(x: relax.Expr, scope: Scope) -> list[relax.Call]:
    """The per-tensor quantize and dequantize calls that `x` comes through, the last first."""
    codec = scope.call(x, "quantize", "dequantize")
    if codec is None or shape_of(codec.args[1]) != ():
        return []
    return [codec, *_codecs(codec.args[0], scope)]


def _reordered(
    weight: relax.Expr, order: list[int], shape: tuple[int, ...], scope: Scope
) -> relax.Expr | None:
    """The rows of a constant (or of the codes under a dequantize per column) in source order."""
    codec = scope.call(weight, "dequantize")
    value = constant_of(weight if codec is None else codec.args[0])
    if value is None or value.ndim != 2:
        return None
    # rows[i] is the flattened position that the source's i-th element has after the permutation
    inverse = np.argsort(order[1:])
    rows = np.arange(value.shape[0]).reshape(shape[1:]).transpose(inverse).ravel()
    reordered = constant(value[rows])
    if codec is None:
        return reordered
    is_per_row = shape_of(codec.args[1]) != () and int(codec.attrs.axis) % 2 == 0
    return None if is_per_row else scope.emit(with_changes(codec, [reordered, *codec.args[1:]], {}))
