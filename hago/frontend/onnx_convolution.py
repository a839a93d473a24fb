"""Converters for convolutions and pools: every padding becomes explicit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tvm import relax

from hago.frontend.onnx_node import Node, NotConvertible, constant, constant_of, converts


@dataclass(frozen=True)
class Window:
    """A sliding window over the spatial axes; `pads` is all the begins, then all the ends."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]


def window_of(node: Node, kernel: tuple[int, ...]) -> Window:
    """The node's window with `auto_pad` resolved for the input's size."""
    spatial = node.shape(0)[2:]
    ones = (1,) * len(spatial)
    strides, dilations = node.integers("strides", ones), node.integers("dilations", ones)
    mode = node.text("auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        pads = _same_pads(spatial, Window(kernel, strides, dilations, ()), mode == "SAME_LOWER")
    else:
        none = (0,) * (2 * len(spatial))
        pads = none if mode == "VALID" else node.integers("pads", none)
    return Window(kernel, strides, dilations, pads)


def _same_pads(spatial: Sequence[int], window: Window, extra_first: bool) -> tuple[int, ...]:
    """Output is ``ceil(size / stride)``; an odd total puts the extra one last, or first."""
    begins, ends = [], []
    axes = zip(spatial, window.kernel, window.strides, window.dilations, strict=True)
    for size, kernel, stride, dilation in axes:
        reach = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1
        total = max(reach - size, 0)
        begin = total - total // 2 if extra_first else total // 2
        begins.append(begin)
        ends.append(total - begin)
    return (*begins, *ends)


_CONVOLUTIONS = {
    3: (relax.op.nn.conv1d, "NCW", "OIW"),
    4: (relax.op.nn.conv2d, "NCHW", "OIHW"),
}


def convolve(node: Node, data: relax.Expr, weight: relax.Expr) -> relax.Expr:
    """The node's convolution applied to other operands of the same shapes, without its bias."""
    rank = len(node.shape(0))
    if rank not in _CONVOLUTIONS:
        raise NotConvertible(f"convolution of a {rank}-D tensor")
    window = window_of(node, node.integers("kernel_shape") or _kernel(weight))
    operator, data_layout, kernel_layout = _CONVOLUTIONS[rank]
    return operator(
        data,
        weight,
        strides=list(window.strides),
        padding=list(window.pads),
        dilation=list(window.dilations),
        groups=int(node.number("group", 1)),
        data_layout=data_layout,
        kernel_layout=kernel_layout,
    )


def _kernel(weight: relax.Expr) -> tuple[int, ...]:
    return tuple(int(d) for d in weight.ty.shape)[2:]


def with_bias(x: relax.Expr, bias: relax.Expr, rank: int) -> relax.Expr:
    """``x + bias`` where `bias` has one value for each channel, axis 1 of `rank`."""
    shape = (1, -1) + (1,) * (rank - 2)
    value = constant_of(bias)
    if value is not None:
        return relax.op.add(x, constant(value.reshape(shape)))
    return relax.op.add(x, relax.op.reshape(bias, shape))


@converts("Conv")
def convolution(node: Node) -> relax.Expr:
    """conv1d or conv2d and the addition of its bias."""
    result = convolve(node, node.input(0), node.input(1))
    return with_bias(result, node.input(2), len(node.shape(0))) if node.has(2) else result


_MAX_POOLS = {3: relax.op.nn.max_pool1d, 4: relax.op.nn.max_pool2d}
_AVERAGE_POOLS = {3: relax.op.nn.avg_pool1d, 4: relax.op.nn.avg_pool2d}


@converts("MaxPool")
def max_pool(node: Node) -> relax.Expr:
    """A maximum over windows with explicit padding."""
    return _pool(node, node.input(0), _MAX_POOLS)


@converts("AveragePool")
def average_pool(node: Node) -> relax.Expr:
    """A mean over windows with explicit padding."""
    return average(node, node.input(0))


def average(node: Node, data: relax.Expr) -> relax.Expr:
    """The node's average pool applied to another tensor of the same shape."""
    return _pool(node, data, _AVERAGE_POOLS)


def _pool(
    node: Node, data: relax.Expr, operators: Mapping[int, Callable[..., relax.Expr]]
) -> relax.Expr:
    rank = len(node.shape(0))
    if rank not in operators:
        raise NotConvertible(f"pool of a {rank}-D tensor")
    window = window_of(node, node.integers("kernel_shape"))
    return operators[rank](
        data,
        list(window.kernel),
        list(window.strides),
        list(window.pads),
        list(window.dilations),
        ceil_mode=bool(node.number("ceil_mode", 0)),
        count_include_pad=bool(node.number("count_include_pad", 0)),
    )


@converts("GlobalMaxPool")
def global_max_pool(node: Node) -> relax.Expr:
    """The maximum over all spatial axes, which stay with size 1."""
    return relax.op.max(node.input(0), axis=list(range(2, len(node.shape(0)))), keepdims=True)
