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

from hago.prepare.expression import (
    Array,
    constant,
    constant_of,
    is_call,
    op_name,
    positive_axes,
    rank_of,
    scalar_of,
    shape_of,
)
from hago.prepare.rewrite import Scope, rewrite


def fuse_layer_norm(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which every normalization over trailing axes is one ``nn.layer_norm``."""
    return rewrite(module, _fuse)


def _fuse(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if is_call(call, "divide"):
        root = scope.call(call.args[1], "sqrt")
        return None if root is None else _normalization(call.args[0], root.args[0], scope)
    if not is_call(call, "multiply", "add"):
        return None
    if is_call(call, "multiply"):
        for centred, factor in (call.args, list(call.args)[::-1]):
            variance = _under_reciprocal_root(factor, scope)
            if variance is not None:
                return _normalization(centred, variance, scope)
    return _absorb(call, scope)


def _under_reciprocal_root(factor: relax.Expr, scope: Scope) -> relax.Expr | None:
    """``v`` where `factor` is ``rsqrt(v)`` or ``1 / sqrt(v)``."""
    direct = scope.call(factor, "rsqrt")
    if direct is not None:
        return direct.args[0]
    ratio = scope.call(factor, "divide")
    if ratio is None or scalar_of(ratio.args[0]) != 1.0:
        return None
    root = scope.call(ratio.args[1], "sqrt")
    return None if root is None else root.args[0]


def _normalization(centred: relax.Expr, variance: relax.Expr, scope: Scope) -> relax.Expr | None:
    """layer_norm with unit parameters if the two belong to one tensor and its trailing axes."""
    difference = scope.call(centred, "subtract")
    shifted = scope.call(variance, "add")
    if difference is None or shifted is None:
        return None
    x, epsilon = difference.args[0], scalar_of(shifted.args[1])
    axes = _mean_axes(difference.args[1], x, scope)
    squares = scope.call(shifted.args[0], "mean")
    if axes is None or squares is None or epsilon is None:
        return None
    square = scope.call(squares.args[0], "multiply")
    if square is None or not all(operand.same_as(centred) for operand in square.args):
        return None
    if _mean_axes(shifted.args[0], squares.args[0], scope) != axes:
        return None
    size = shape_of(x)[axes[0] :]
    one, zero = constant(np.ones(size, np.float32)), constant(np.zeros(size, np.float32))
    return relax.op.nn.layer_norm(x, one, zero, [a - rank_of(x) for a in axes], epsilon)


def _mean_axes(expr: relax.Expr, x: relax.Expr, scope: Scope) -> list[int] | None:
    """The trailing axes over which `expr` is the mean of `x`, None if it is not."""
    mean = scope.call(expr, "mean")
    if mean is None or not mean.args[0].same_as(x) or not mean.attrs.keepdims:
        return None
    rank = rank_of(x)
    axes = sorted(positive_axes(mean.attrs.axis, rank)) if mean.attrs.axis is not None else []
    return axes if axes and axes == list(range(axes[0], rank)) else None


def _absorb(call: relax.Call, scope: Scope) -> relax.Expr | None:
    norm, value = scope.call(call.args[0], "nn.layer_norm"), constant_of(call.args[1])
    if norm is None or value is None or not scope.is_used_once(call.args[0]):
        return None
    gamma, beta = (constant_of(x) for x in norm.args[1:])
    if gamma is None or beta is None:
        return None
    parameter = _as_parameter(value, gamma.shape)
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


def _as_parameter(value: Array, shape: tuple[int, ...]) -> Array | None:
    """`value` broadcast to the parameters' shape, None if it varies along other axes too."""
    leading = value.shape[: max(value.ndim - len(shape), 0)]
    if any(size != 1 for size in leading):
        return None
    trailing = value.reshape(value.shape[len(leading) :])
    if np.broadcast_shapes(trailing.shape, shape) != shape:
        return None
    return np.broadcast_to(trailing, shape)
