"""Compute a transposed convolution as a convolution whose channels are then spread out in space.

    conv_transpose(x, w, stride s) => crop(depth_to_space_s(conv(x, w')))

Output positions of one phase (position mod s) see every s-th tap of the kernel, reversed; the s * s
phases become groups of output channels. With kernel = stride, w' is 1x1 and nothing is cropped.
Source: Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from hago.prepare.expression import (
    Array,
    constant,
    constant_of,
    integers,
    is_call,
    shape_of,
)
from hago.prepare.rewrite import Scope, rewrite


@dataclass(frozen=True)
class _Axis:
    """One spatial axis of the transposed convolution."""

    size: int
    kernel: int
    stride: int
    crop: int
    output: int

    @property
    def taps(self) -> int:
        """Taps of the kernel that one phase sees."""
        return -(-self.kernel // self.stride)

    @property
    def cells(self) -> int:
        """Positions of one phase that the cropped output needs, from the first on."""
        return -(-(self.crop + self.output) // self.stride)

    @property
    def padding(self) -> tuple[int, int]:
        """Before and after the input."""
        return self.taps - 1, max(self.cells - self.size, 0)


def unfold_transposed_conv(module: tvm.IRModule) -> tvm.IRModule:
    """A module without NHWC ``nn.conv2d_transpose`` of constant weights."""
    return rewrite(module, _unfold)


def _unfold(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not is_call(call, "nn.conv2d_transpose") or call.attrs.data_layout != "NHWC":
        return None
    weight, attributes = constant_of(call.args[1]), call.attrs
    if weight is None:
        return None
    weight = _dilated(weight, integers(attributes.dilation))
    groups = int(attributes.groups)
    rows, columns = _axes(call, weight)
    padding = list(zip(rows.padding, columns.padding, strict=True))
    convolved = relax.op.nn.conv2d(
        call.args[0],
        constant(_phase_weights(weight, rows, columns, groups)),
        padding=[*padding[0], *padding[1]],
        groups=groups,
        data_layout="NHWC",
        kernel_layout="OHWI",
    )
    return _spread(scope.emit(convolved), rows, columns, groups)


def _dilated(weight: Array, dilation: list[int]) -> Array:
    """[I, H, W, O / g] with zeros between the taps."""
    inputs, height, width, outputs = weight.shape
    down, right = dilation
    spread = np.zeros(
        (inputs, (height - 1) * down + 1, (width - 1) * right + 1, outputs), weight.dtype
    )
    spread[:, ::down, ::right] = weight
    return spread


def _axes(call: relax.Call, weight: Array) -> tuple[_Axis, _Axis]:
    strides, padding = integers(call.attrs.strides), integers(call.attrs.padding)
    rows, columns = (
        _Axis(
            shape_of(call.args[0])[1 + i],
            weight.shape[1 + i],
            strides[i],
            padding[i],
            shape_of(call)[1 + i],
        )
        for i in (0, 1)
    )
    return rows, columns


def _phase_weights(weight: Array, rows: _Axis, columns: _Axis, groups: int) -> Array:
    """[I, H, W, O / g] -> [g * sh * sw * O / g, taps, taps, I / g], taps reversed."""
    inputs, _, _, outputs = weight.shape
    sh, sw, th, tw = rows.stride, columns.stride, rows.taps, columns.taps
    padded = np.zeros((inputs, th * sh, tw * sw, outputs), weight.dtype)
    padded[:, : rows.kernel, : columns.kernel] = weight
    split = padded.reshape(groups, inputs // groups, th, sh, tw, sw, outputs)[:, :, ::-1, :, ::-1]
    ordered = split.transpose(0, 3, 5, 6, 2, 4, 1)
    return ordered.reshape(groups * sh * sw * outputs, th, tw, inputs // groups)


def _spread(x: relax.Expr, rows: _Axis, columns: _Axis, groups: int) -> relax.Expr:
    """Channels (g, sh, sw, o) of every cell to sh x sw positions of g * o channels, cropped."""
    batch, height, width, channels = shape_of(x)
    sh, sw = rows.stride, columns.stride
    depth = channels // (sh * sw)
    cells = relax.op.reshape(x, (batch, height, width, groups, sh, sw, depth // groups))
    spread = relax.op.permute_dims(cells, [0, 1, 4, 2, 5, 3, 6])
    full = relax.op.reshape(spread, (batch, height * sh, width * sw, depth))
    if (height * sh, width * sw) == (rows.output, columns.output):
        return full
    low = [rows.crop, columns.crop]
    high = [rows.crop + rows.output, columns.crop + columns.output]
    return relax.op.strided_slice(full, [1, 2], low, high)
