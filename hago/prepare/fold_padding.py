"""Give zero padding to the convolution or average pool that reads it.

    conv2d(pad(x, zeros), padding=p) => conv2d(x, padding=p + zeros)
    avg_pool2d(pad(x, zeros)) => avg_pool2d(x, padding=zeros, count_include_pad=True)

A maximum pool pads with minus infinity, not with zero, so its pad stays.
"""

from __future__ import annotations

import tvm
from tvm import relax

from hago.prepare.expression import integers, is_call, with_changes
from hago.prepare.rewrite import Scope, rewrite

_WINDOWS = ("nn.conv1d", "nn.conv2d", "nn.avg_pool1d", "nn.avg_pool2d")


def fold_padding(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which convolutions pad for themselves."""
    return rewrite(module, _fold)


def _fold(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not is_call(call, *_WINDOWS):
        return None
    pad = scope.call(call.args[0], "nn.pad")
    if pad is None or pad.attrs.pad_mode != "constant" or pad.attrs.pad_value != 0:
        return None
    is_pool = is_call(call, "nn.avg_pool1d", "nn.avg_pool2d")
    if is_pool and call.attrs.ceil_mode:  # windows reach beyond what was padded
        return None
    layout = str(call.attrs.layout if is_pool else call.attrs.data_layout)
    inner = integers(call.attrs.padding)
    outer = _spatial_padding(integers(pad.attrs.pad_width), layout)
    if outer is None or (is_pool and any(inner) and not call.attrs.count_include_pad):
        return None
    padding = [a + b for a, b in zip(inner, outer, strict=True)]
    changes: dict[str, object] = {"padding": padding}
    if is_pool:
        changes["count_include_pad"] = True
    return with_changes(call, [pad.args[0], *call.args[1:]], changes)


def _spatial_padding(widths: list[int], layout: str) -> list[int] | None:
    """All the begins, then all the ends; None if the batch or the channels are padded too."""
    before = dict(zip(layout, widths[0::2], strict=True))
    after = dict(zip(layout, widths[1::2], strict=True))
    if any(before[axis] or after[axis] for axis in "NC"):
        return None
    spatial = [axis for axis in layout if axis not in "NC"]
    return [before[axis] for axis in spatial] + [after[axis] for axis in spatial]
