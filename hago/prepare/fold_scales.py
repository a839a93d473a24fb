"""Fold multiplications and additions by constants into weights and one bias.

    conv(x, w) * s => conv(x, w * s)      matmul(x, w) * s => matmul(x, w * s)
    (y + b) * s => y * s + b * s          (y + b1) + b2 => y + (b1 + b2)
    (y * s) * t => y * (s * t)            matmul(x * scalar, y) => matmul(x, y) * scalar
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
    positive_axes,
    rank_of,
    scalar_of,
    shape_of,
    with_changes,
)
from hago.prepare.rewrite import Scope, rewrite

# The axis of a weight (OHWI, IHWO, [K, N]) along which the result's last axis runs.
_WEIGHT_AXES = {"nn.conv2d": 0, "nn.conv2d_transpose": -1, "matmul": -1}
_MOVEMENTS = ("reshape", "permute_dims")


def fold_scales(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which a convolution or matmul is followed by one addition of a bias at most."""
    return rewrite(module, _fold)


def _fold(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if is_call(call, "matmul"):
        return _pulled_out(call, scope)
    value = constant_of(call.args[1]) if is_call(call, "add", "multiply") else None
    if value is None or dtype_of(call) != "float32" or shape_of(call) != shape_of(call.args[0]):
        return None
    if is_call(call, "multiply"):
        scaled = _scaled(call.args[0], value, scope)
        if scaled is not None:
            return scaled
    return _merged(call, value, scope)


def _merged(call: relax.Call, value: Array, scope: Scope) -> relax.Expr | None:
    """Two additions, or two multiplications, of constants in a row as one."""
    inner = scope.call(call.args[0], op_name(call))
    first = None if inner is None else constant_of(inner.args[1])
    if inner is None or first is None or not scope.is_used_once(call.args[0]):
        return None
    if shape_of(inner.args[0]) != shape_of(call):
        return None
    both = first + value if is_call(call, "add") else first * value
    return with_changes(call, [inner.args[0], constant(both)], {})


def _pulled_out(call: relax.Call, scope: Scope) -> relax.Expr | None:
    """A matmul of two activations whose scalar factors are applied to its result instead."""
    if any(constant_of(x) is not None for x in call.args):
        return None
    stripped = [_without_scalar(x, scope) for x in call.args]
    factor = stripped[0][1] * stripped[1][1]
    if factor == 1.0:
        return None
    product = with_changes(call, [x for x, _ in stripped], {})
    return relax.op.multiply(product, constant(np.float32(factor)))


def _without_scalar(x: relax.Expr, scope: Scope) -> tuple[relax.Expr, float]:
    """`x` as data movements of something times a scalar: that without the scalar, the scalar."""
    call = scope.definition(x)
    if is_call(call, "multiply") and scalar_of(call.args[1]) is not None:
        return call.args[0], float(scalar_of(call.args[1]) or 0.0)
    if is_call(call, *_MOVEMENTS):
        inner, factor = _without_scalar(call.args[0], scope)
        if factor != 1.0:
            return scope.emit(with_changes(call, [inner, *call.args[1:]], {})), factor
    return x, 1.0


def _scaled(y: relax.Expr, scale: Array, scope: Scope) -> relax.Expr | None:
    """``y * scale`` without a multiplication, None if there is no weight to take it."""
    call = scope.definition(y)
    if not scope.is_used_once(y):
        return None
    if is_call(call, *_WEIGHT_AXES):
        return _scaled_product(call, scale, scope)
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


def _scaled_product(call: relax.Call, scale: Array, scope: Scope) -> relax.Expr | None:
    """A convolution or matmul whose constant weight (or its quantization scale) is scaled."""
    factors = _by_channel(scale, shape_of(call)[-1])
    is_grouped = op_name(call) == "nn.conv2d_transpose" and call.attrs.groups != 1
    if factors is None or is_grouped or rank_of(call.args[1]) < 2:
        return None
    axis = _WEIGHT_AXES[op_name(call)] % rank_of(call.args[1])
    codec = scope.call(call.args[1], "dequantize")
    if codec is None:
        weight = _scaled_floats(call.args[1], factors, axis)
    else:
        weight = _scaled_codes(codec, factors, axis)
    return None if weight is None else with_changes(call, [call.args[0], scope.emit(weight)], {})


def _scaled_floats(weight: relax.Expr, factors: Array, axis: int) -> relax.Expr | None:
    value = constant_of(weight)
    if value is None or value.dtype != np.float32:
        return None
    shape = [1] * value.ndim
    shape[axis] = -1
    return constant(value * factors.reshape(shape))


def _scaled_codes(codec: relax.Call, factors: Array, axis: int) -> relax.Expr | None:
    """The same codes at another scale, which has to stay positive."""
    codes, scale, zero = (constant_of(x) for x in codec.args)
    if codes is None or scale is None or zero is None or not np.all(factors > 0):
        return None
    if scale.ndim == 1 and positive_axes([codec.attrs.axis], codes.ndim)[0] != axis:
        return None
    scaled = scale * (factors if factors.size > 1 else factors.reshape(()))
    operands = [codec.args[0], constant(scaled), constant(np.broadcast_to(zero, scaled.shape))]
    return with_changes(codec, operands, {"axis": axis if scaled.ndim else -1})


def _by_channel(scale: Array, channels: int) -> Array | None:
    """One factor for each channel (or one for all), None if it varies along other axes."""
    if scale.size == 1:
        return scale.reshape((1,))
    is_vector = scale.shape[-1] == channels and scale.size == channels
    return scale.reshape((channels,)) if is_vector else None
