"""Channels last: convolutions, pools, group norms and resizes in NHWC, weights OHWI.

    conv2d(x, w) => permute_dims(conv2d_nhwc(permute_dims(x, to NHWC), w'), to NCHW)

and every permutation sinks as far as it can in the same walk (`sink_permutes`), so what is left is
one at an entry, one at an exit, and those that a reshape needs.
"""

from __future__ import annotations

import tvm
from tvm import relax

from hago.prepare.expression import op_name, positive_axes, rank_of, with_changes
from hago.prepare.permute import permute
from hago.prepare.rewrite import Rule, Scope, rewrite
from hago.prepare.sink_permutes import sink_permute

_TO_NHWC = (0, 2, 3, 1)
_TO_NCHW = (0, 3, 1, 2)


def to_nhwc(module: tvm.IRModule) -> tvm.IRModule:
    """A module whose spatial operators are all channels-last; inputs and outputs keep theirs."""
    return rewrite(module, _channels_last)


def _channels_last(call: relax.Call, scope: Scope) -> relax.Expr | None:
    rule = _RULES.get(op_name(call), sink_permute)
    return rule(call, scope)


def _convolution(call: relax.Call, scope: Scope) -> relax.Expr | None:
    is_transposed = op_name(call) == "nn.conv2d_transpose"
    kernel_layout = "IHWO" if is_transposed else "OHWI"
    is_last = call.attrs.data_layout == "NHWC"
    if is_last and call.attrs.kernel_layout == kernel_layout:
        return None
    from_axes = [str(call.attrs.kernel_layout).index(letter) for letter in kernel_layout]
    data = call.args[0] if is_last else permute(call.args[0], _TO_NHWC, scope)
    weight = permute(call.args[1], from_axes, scope)
    layouts = {"data_layout": "NHWC", "kernel_layout": kernel_layout, "out_layout": "NHWC"}
    found = with_changes(call, [data, weight], layouts)
    return found if is_last else relax.op.permute_dims(found, _TO_NCHW)


def _pool(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if call.attrs.layout != "NCHW":
        return None
    data = permute(call.args[0], _TO_NHWC, scope)
    layouts = {"layout": "NHWC", "out_layout": "NHWC"}
    return relax.op.permute_dims(with_changes(call, [data], layouts), _TO_NCHW)


def _resize(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if call.attrs.layout != "NCHW":
        return None
    data = permute(call.args[0], _TO_NHWC, scope)
    resized = with_changes(call, [data, *call.args[1:]], {"layout": "NHWC"})
    return relax.op.permute_dims(resized, _TO_NCHW)


def _group_norm(call: relax.Call, scope: Scope) -> relax.Expr | None:
    rank = rank_of(call)
    axes = positive_axes([call.attrs.channel_axis, *call.attrs.axes], rank)
    if rank != 4 or axes[0] != 1 or sorted(axes[1:]) != [2, 3]:
        return sink_permute(call, scope)
    data = permute(call.args[0], _TO_NHWC, scope)
    layouts = {"channel_axis": 3, "axes": [1, 2]}
    found = with_changes(call, [data, *call.args[1:]], layouts)
    return relax.op.permute_dims(found, _TO_NCHW)


_RULES: dict[str, Rule] = {
    "nn.conv2d": _convolution,
    "nn.conv2d_transpose": _convolution,
    "nn.max_pool2d": _pool,
    "nn.avg_pool2d": _pool,
    "nn.adaptive_avg_pool2d": _pool,
    "nn.adaptive_max_pool2d": _pool,
    "nn.group_norm": _group_norm,
    "image.resize2d": _resize,
}
