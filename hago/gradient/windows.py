"""Convolution and pooling of NHWC tensors in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hago.gradient import torch

if TYPE_CHECKING:
    from torch import Tensor
    from tvm import relax


def convolve(call: relax.Call, data: Tensor, weight: Tensor) -> Tensor:
    """conv2d of ``data`` [n, h, w, i] with ``weight`` [o, kh, kw, i / groups]."""
    attrs = call.attrs
    padded, symmetric = _padded(data, attrs.padding, 0.0)
    result = torch.nn.functional.conv2d(
        _channels_first(padded),
        _channels_first(weight),
        stride=_ints(attrs.strides),
        padding=symmetric,
        dilation=_ints(attrs.dilation),
        groups=int(attrs.groups),
    )
    return _channels_last(result)


def pool_maximum(call: relax.Call, data: Tensor) -> Tensor:
    """The largest value of each window; what pads is never the largest."""
    attrs = call.attrs
    padded = _pad(data, _whole_windows(call, data), -torch.inf)
    kernel, strides = _ints(attrs.pool_size), _ints(attrs.strides)
    result = torch.nn.functional.max_pool2d(
        _channels_first(padded), kernel, strides, 0, _ints(attrs.dilation)
    )
    return _channels_last(result)


def pool_average(call: relax.Call, data: Tensor) -> Tensor:
    """The mean of each window, padding counted where the call says so (dilation is 1)."""
    attrs = call.attrs
    padding = _whole_windows(call, data)
    kernel, strides = _ints(attrs.pool_size), _ints(attrs.strides)

    def total(tensor: Tensor) -> Tensor:
        padded = _channels_first(_pad(tensor, padding, 0.0))
        pool = torch.nn.functional.avg_pool2d
        return _channels_last(pool(padded, kernel, strides, divisor_override=1))

    if attrs.count_include_pad:
        return total(data) / (kernel[0] * kernel[1])
    return total(data) / total(torch.ones((1, *data.shape[1:3], 1)))


def _whole_windows(call: relax.Call, data: Tensor) -> list[int]:
    """Padding (top, left, bottom, right), with what ceil_mode adds at the end."""
    attrs = call.attrs
    padding = _ints(attrs.padding)
    if not attrs.ceil_mode:
        return padding
    sizes = zip(_ints(attrs.pool_size), _ints(attrs.strides), _ints(attrs.dilation), strict=True)
    for axis, (kernel, stride, dilation) in enumerate(sizes):
        length = data.shape[1 + axis] + padding[axis] + padding[axis + 2]
        padding[axis + 2] += -(length - dilation * (kernel - 1) - 1) % stride
    return padding


def _padded(data: Tensor, padding: Any, value: float) -> tuple[Tensor, list[int]]:
    """``data``, padded here where the two ends differ, and the padding left for the operation."""
    top, left, bottom, right = _ints(padding)
    if (top, left) == (bottom, right):
        return data, [top, left]
    return _pad(data, [top, left, bottom, right], value), [0, 0]


def _pad(data: Tensor, padding: Sequence[int], value: float) -> Tensor:
    top, left, bottom, right = padding
    if not any(padding):
        return data
    return torch.nn.functional.pad(data, (0, 0, left, right, top, bottom), value=value)


def _channels_first(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 3, 1, 2)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 2, 3, 1)


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]
