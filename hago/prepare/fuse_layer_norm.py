"""Recognise layer normalization, and put what follows it into its parameters.

    c = x - mean(x);  c / sqrt(mean(c * c) + epsilon) => layer_norm(x, 1, 0)
    layer_norm(x, g, b) * s => layer_norm(x, g * s, b * s)
    layer_norm(x, g, b) + t => layer_norm(x, g, b + t)

Runs after `simplify_arithmetic`.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from hago.prepare.expression import constant, constant_of, is_call, op_name, rank_of, shape_of
from hago.prepare.moments import as_parameter, mean_axes, mean_square, over_roots
from hago.prepare.rewrite import Scope, rewrite


def fuse_layer_norm(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which every normalization over trailing axes is one ``nn.layer_norm``."""
    return rewrite(module, _fuse)


def _fuse(call: relax.Call, scope: Scope) -> relax.Expr | None:
    for centred, variance in over_roots(call, scope):
        norm = _normalization(centred, variance, scope)
        if norm is not None:
            return norm
    return _absorb(call, scope) if is_call(call, "multiply", "add") else None


def _normalization(centred: relax.Expr, variance: relax.Expr, scope: Scope) -> relax.Expr | None:
    """layer_norm with unit parameters if the two belong to one tensor and its trailing axes."""
    difference, moment = scope.call(centred, "subtract"), mean_square(variance, centred, scope)
    if difference is None or moment is None:
        return None
    x, (axes, epsilon) = difference.args[0], moment
    if mean_axes(difference.args[1], x, scope) != axes:
        return None
    size = shape_of(x)[axes[0] :]
    one, zero = constant(np.ones(size, np.float32)), constant(np.zeros(size, np.float32))
    return relax.op.nn.layer_norm(x, one, zero, [a - rank_of(x) for a in axes], epsilon)


def _absorb(call: relax.Call, scope: Scope) -> relax.Expr | None:
    norm, value = scope.call(call.args[0], "nn.layer_norm"), constant_of(call.args[1])
    if norm is None or value is None or not scope.is_used_once(call.args[0]):
        return None
    gamma, beta = (constant_of(x) for x in norm.args[1:])
    if gamma is None or beta is None:
        return None
    parameter = as_parameter(value, gamma.shape)
    if parameter is None:
        return None
    if op_name(call) == "multiply":
        gamma, beta = gamma * parameter, beta * parameter
    else:
        beta = beta + parameter
    attributes = norm.attrs
    axes = [int(a) for a in attributes.axes]
    return relax.op.nn.layer_norm(
        norm.args[0], constant(gamma), constant(beta), axes, float(attributes.epsilon)
    )
