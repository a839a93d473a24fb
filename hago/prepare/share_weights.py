"""Weights that are the same for each matrix of a batch are one matrix.

    matmul(x [b, m, k], [w, w, ..])  =>  matmul(x, w)

So torch.export writes a linear layer on what is not one piece of memory.
"""

from __future__ import annotations

import tvm
from tvm import relax

from hago.prepare.expression import constant, constant_of, is_call, shape_of, with_changes
from hago.prepare.rewrite import Scope, rewrite


def share_weights(module: tvm.IRModule) -> tvm.IRModule:
    """A module whose products have weights of two axes where these say all."""
    return rewrite(module, _share)


def _share(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not is_call(call, "matmul"):
        return None
    data, weight = call.args[0], constant_of(call.args[1])
    if weight is None or weight.ndim <= 2 or shape_of(data)[:-2] != shape_of(call)[:-2]:
        return None
    matrices = weight.reshape(-1, *weight.shape[-2:])
    if (matrices != matrices[0]).any():
        return None
    return with_changes(call, [data, constant(matrices[0])], {})
