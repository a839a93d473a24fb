"""One spelling for normalizations of groups of channels, with what follows in its parameters.

    instance_norm(x, g, b) => group_norm(x, g, b), each channel a group
    reshape(group_norm(reshape(x, [n, G, -1]))) => group_norm(x) with G groups
    group_norm(x, g, b) * s => group_norm(x, g * s, b * s)
    group_norm(x, g, b) + t => group_norm(x, g, b + t)

The second is how PyTorch writes a group norm for ONNX without an operator for it. Runs after
`simplify_arithmetic`.
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
    shape_of,
)
from hago.prepare.rewrite import Rule, Scope, rewrite

_NAME = "nn.group_norm"


def fuse_group_norm(module: tvm.IRModule) -> tvm.IRModule:
    """A module without instance norms, and with group norms of whole channels."""
    return rewrite(module, _fuse)


def _fuse(call: relax.Call, scope: Scope) -> relax.Expr | None:
    rule = _RULES.get(op_name(call))
    return None if rule is None else rule(call, scope)


def _instances(call: relax.Call, _: Scope) -> relax.Expr | None:
    data, gamma, beta = call.args
    if not _is_over_images(call):
        return None
    return _normalized(call, data, gamma, beta, shape_of(data)[channel_of(call)])


def channel_of(norm: relax.Call) -> int:
    """The axis of channels, counted from the front."""
    return positive_axes([norm.attrs.channel_axis], rank_of(norm.args[0]))[0]


def _is_over_images(norm: relax.Call) -> bool:
    """Whether moments are over all axes but the first and the channels'; over one sample is over
    none."""
    shape = shape_of(norm.args[0])
    axes = set(positive_axes(norm.attrs.axes, len(shape)))
    others = set(range(1, len(shape))) - {channel_of(norm)}
    return axes in (others, others | {0}) and (0 not in axes or shape[0] == 1)


def _normalized(
    norm: relax.Call, data: relax.Expr, gamma: relax.Expr, beta: relax.Expr, groups: int
) -> relax.Expr:
    """``norm`` of an image ``data`` with other parameters, the channels on the same axis."""
    channel = channel_of(norm)
    axes = [axis for axis in range(1, rank_of(data)) if axis != channel]
    return relax.op.nn.group_norm(
        data, gamma, beta, groups, channel, axes, float(norm.attrs.epsilon)
    )


def _outer_reshape(call: relax.Call, scope: Scope) -> relax.Expr | None:
    """Each row of the inner tensor holds the channels of one group."""
    norm = scope.call(call.args[0], _NAME)
    inner = None if norm is None else scope.call(norm.args[0], "reshape")
    if norm is None or inner is None or shape_of(inner.args[0]) != shape_of(call):
        return None
    shape, rows = shape_of(call), shape_of(inner)
    groups = int(norm.attrs.num_groups)
    gamma, beta = (constant_of(each) for each in norm.args[1:])
    is_by_row = _is_over_images(norm) and channel_of(norm) == 1 and rows[1] == groups
    if not is_by_row or len(shape) < 3 or shape[0] != rows[0] or shape[1] % groups:
        return None
    if gamma is None or beta is None:
        return None
    wide = shape[1] // groups
    scale, shift = (constant(np.repeat(each, wide)) for each in (gamma, beta))
    return _normalized(norm, inner.args[0], scale, shift, groups)


def _absorb(call: relax.Call, scope: Scope) -> relax.Expr | None:
    norm, value = scope.call(call.args[0], _NAME), constant_of(call.args[1])
    if norm is None or value is None or not scope.is_used_once(call.args[0]):
        return None
    if not _is_over_images(norm):
        return None
    gamma, beta = (constant_of(x) for x in norm.args[1:])
    parameter = _as_parameter(value, norm)
    if gamma is None or beta is None or parameter is None:
        return None
    if is_call(call, "multiply"):
        gamma, beta = gamma * parameter, beta * parameter
    else:
        beta = beta + parameter
    groups = int(norm.attrs.num_groups)
    return _normalized(norm, norm.args[0], constant(gamma), constant(beta), groups)


def _as_parameter(value: Array, norm: relax.Call) -> Array | None:
    """`value` [channels], None if it varies along other axes."""
    shape = shape_of(norm)
    channel = channel_of(norm)
    if value.ndim > len(shape):
        return None
    full = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
    if any(size != 1 for axis, size in enumerate(full.shape) if axis != channel):
        return None
    return np.ascontiguousarray(np.broadcast_to(full.reshape(-1), shape[channel : channel + 1]))


_RULES: dict[str, Rule] = {
    "nn.instance_norm": _instances,
    "reshape": _outer_reshape,
    "multiply": _absorb,
    "add": _absorb,
}
