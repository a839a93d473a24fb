"""Recognise root mean square normalization (arXiv 1910.07467), with its factors in the weight.

    x / sqrt(mean(x * x) + epsilon) => rms_norm(x, 1)
    rms_norm(x, g) * s => rms_norm(x, g * s)

Runs after `simplify_arithmetic`, which writes squares as products, and after `fuse_layer_norm`,
whose normalization is this one of a centred tensor.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from hago.prepare.expression import constant, constant_of, is_call, rank_of, shape_of
from hago.prepare.moments import as_parameter, mean_square, over_roots
from hago.prepare.rewrite import Scope, rewrite


def fuse_rms_norm(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which every such normalization over trailing axes is one ``nn.rms_norm``."""
    return rewrite(module, _fuse)


def _fuse(call: relax.Call, scope: Scope) -> relax.Expr | None:
    for x, radicand in over_roots(call, scope):
        moment = mean_square(radicand, x, scope)
        if moment is not None:
            axes, epsilon = moment
            weight = constant(np.ones(shape_of(x)[axes[0] :], np.float32))
            return relax.op.nn.rms_norm(x, weight, [a - rank_of(x) for a in axes], epsilon)
    return _absorb(call, scope) if is_call(call, "multiply") else None


def _absorb(call: relax.Call, scope: Scope) -> relax.Expr | None:
    norm, factor = scope.call(call.args[0], "nn.rms_norm"), constant_of(call.args[1])
    if norm is None or factor is None or not scope.is_used_once(call.args[0]):
        return None
    weight = constant_of(norm.args[1])
    parameter = None if weight is None else as_parameter(factor, weight.shape)
    if parameter is None:
        return None
    axes, epsilon = [int(a) for a in norm.attrs.axes], float(norm.attrs.epsilon)
    return relax.op.nn.rms_norm(norm.args[0], constant(weight * parameter), axes, epsilon)
