"""Average pools whose last windows reach beyond the padding, written without ``ceil_mode``'s doubt.

    avg_pool2d(x, padding, ceil_mode, count_include_pad)  =>  avg_pool2d(pad(x, zeros), ceil_mode)

What ONNX and PyTorch divide by is the part of a window on the padded input, which is what a pool
that counts no padding of its own divides by. Where ``ceil_mode`` changes no size it is dropped.
"""

from __future__ import annotations

import tvm
from tvm import relax

from hago.prepare.expression import integers, is_call, shape_of, with_changes
from hago.prepare.rewrite import Scope, rewrite


def exact_pools(module: tvm.IRModule) -> tvm.IRModule:
    """A module whose average pools divide by what lies under each window."""
    return rewrite(module, _exact)


def _exact(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not is_call(call, "nn.avg_pool1d", "nn.avg_pool2d") or not call.attrs.ceil_mode:
        return None
    data = call.args[0]
    floors = scope.builder.normalize(with_changes(call, [data], {"ceil_mode": False}))
    if shape_of(floors) == shape_of(call):
        return floors
    if not call.attrs.count_include_pad:
        return None
    padding = integers(call.attrs.padding)
    before, after = padding[: len(padding) // 2], padding[len(padding) // 2 :]
    spatial = iter(zip(before, after, strict=True))
    pairs = [(0, 0) if axis in "NC" else next(spatial) for axis in str(call.attrs.layout)]
    widths = [width for pair in pairs for width in pair]
    padded = scope.emit(relax.op.nn.pad(data, widths)) if any(widths) else data
    changes = {"padding": [0] * len(padding), "count_include_pad": False}
    pool = scope.builder.normalize(with_changes(call, [padded], changes))
    return pool if shape_of(pool) == shape_of(call) else None
