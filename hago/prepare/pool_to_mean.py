"""One form for a pool over everything: a mean that keeps its axes.

adaptive_avg_pool2d(x, 1x1) => mean(x, (H, W), keepdims=True)
avg_pool2d(x, window = all of x, no padding) => mean(x, (H, W), keepdims=True)
adaptive_avg_pool2d(x, h'xw') => avg_pool2d(x, h/h' x w/w')      where these are whole numbers
"""

from __future__ import annotations

import tvm
from tvm import relax

from hago.prepare.expression import integers, is_call, shape_of
from hago.prepare.rewrite import Scope, rewrite


def pool_to_mean(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which global average pools are means, and no window depends on its place."""
    return rewrite(module, _to_mean)


def _to_mean(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not is_call(call, "nn.adaptive_avg_pool2d", "nn.avg_pool2d"):
        return None
    layout = str(call.attrs.layout)
    axes = [layout.index("H"), layout.index("W")]
    size = [shape_of(call.args[0])[axis] for axis in axes]
    if _covers(call, size):
        return relax.op.mean(call.args[0], axes, keepdims=True)
    return _with_fixed_window(call, size) if is_call(call, "nn.adaptive_avg_pool2d") else None


def _with_fixed_window(call: relax.Call, size: list[int]) -> relax.Expr | None:
    wanted = integers(call.attrs.output_size)
    if any(extent % count for extent, count in zip(size, wanted, strict=True)):
        return None
    window = [extent // count for extent, count in zip(size, wanted, strict=True)]
    return relax.op.nn.avg_pool2d(call.args[0], window, window, layout=str(call.attrs.layout))


def _covers(call: relax.Call, size: list[int]) -> bool:
    attributes = call.attrs
    if is_call(call, "nn.adaptive_avg_pool2d"):
        return integers(attributes.output_size) == [1, 1]
    is_dense = integers(attributes.dilation) == [1, 1]
    return integers(attributes.pool_size) == size and is_dense and not any(attributes.padding)
