"""Fold multiplications and additions by constants into weights and one bias.

    conv(x, w) * s => conv(x, w * s)      matmul(x, w) * s => matmul(x, w * s)
    (y + b) * s => y * s + b * s          (y + b1) + b2 => y + (b1 + b2)
    reshape(y) * scalar => reshape(y * scalar), permute_dims likewise, where y ends in a weight

Runs in NHWC, where the channels of convolution and matmul results are both the last axis.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from hago.prepare.expression import (
    Array,
    constant,
    constant_of,
    dtype_of,
    is_call,
    op_name,
    shape_of,
    with_changes,
)
from hago.prepare.rewrite import Scope, rewrite

_MOVEMENTS = ("reshape", "permute_dims")


def fold_scales(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which a convolution or matmul is followed by one addition of a bias at most."""
    return rewrite(module, _fold)


def _fold(call: relax.Call, scope: Scope) -> relax.Expr | None:
    value = constant_of(call.args[1]) if is_call(call, "add", "multiply") else None
    if value is None or dtype_of(call) != "float32" or shape_of(call) != shape_of(call.args[0]):
        return None
    if is_call(call, "multiply"):
        return _scaled(call.args[0], value, scope)
    inner = scope.call(call.args[0], "add")
    bias = None if inner is None else constant_of(inner.args[1])
    if inner is None or bias is None or not scope.is_used_once(call.args[0]):
        return None
    if shape_of(inner.args[0]) != shape_of(call):
        return None
    return relax.op.add(inner.args[0], constant(bias + value))


def _scaled(y: relax.Expr, scale: Array, scope: Scope) -> relax.Expr | None:
    """``y * scale`` without a multiplication, None if there is no weight to take it."""
    call = scope.definition(y)
    if not scope.is_used_once(y):
        return None
    if is_call(call, "nn.conv2d", "matmul"):
        return _scaled_weight(call, scale)
    if is_call(call, "add"):
        return _scaled_sum(call, scale, scope)
    if is_call(call, *_MOVEMENTS) and scale.size == 1:
        moved = _scaled(call.args[0], scale, scope)
        return None if moved is None else with_changes(call, [moved, *call.args[1:]], {})
    return None


def _scaled_sum(call: relax.Call, scale: Array, scope: Scope) -> relax.Expr | None:
    bias = constant_of(call.args[1])
    if bias is None or shape_of(call.args[0]) != shape_of(call):
        return None
    scaled = _scaled(call.args[0], scale, scope)
    return None if scaled is None else relax.op.add(scaled, constant(bias * scale))


def _scaled_weight(call: relax.Call, scale: Array) -> relax.Expr | None:
    weight = constant_of(call.args[1])
    channels = shape_of(call)[-1]
    factors = _by_channel(scale, channels)
    if weight is None or factors is None or weight.dtype != np.float32:
        return None
    if op_name(call) == "nn.conv2d":
        if call.attrs.kernel_layout != "OHWI":
            return None
        factors = factors.reshape(-1, 1, 1, 1)
    elif weight.ndim < 2:
        return None
    return with_changes(call, [call.args[0], constant(weight * factors)], {})


def _by_channel(scale: Array, channels: int) -> Array | None:
    """One factor for each channel (or one for all), None if it varies along other axes."""
    if scale.size == 1:
        return scale.reshape((1,))
    is_vector = scale.shape[-1] == channels and scale.size == channels
    return scale.reshape((channels,)) if is_vector else None
