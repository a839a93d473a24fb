"""Converter for transposed convolution, its padding explicit."""

from __future__ import annotations

from tvm import relax

from hago.frontend.onnx_convolution import with_bias
from hago.frontend.onnx_node import (
    Node,
    NotConvertible,
    constant,
    constant_of,
    converts,
    static_shape,
)


@converts("ConvTranspose")
def transposed_convolution(node: Node) -> relax.Expr:
    """conv2d_transpose and the addition of its bias; one spatial axis as two with height 1."""
    shape, kernel = node.shape(0), node.shape(1)
    if len(shape) not in (3, 4):
        raise NotConvertible(f"transposed convolution of a {len(shape)}-D tensor")
    lead = (1,) * (4 - len(shape))
    ones = (1,) * (len(shape) - 2)
    begins, ends, more = _pads(node)
    wide = relax.op.nn.conv2d_transpose(
        _reshaped(node.input(0), (*shape[:2], *lead, *shape[2:])),
        _reshaped(node.input(1), (*kernel[:2], *lead, *kernel[2:])),
        strides=[*lead, *node.integers("strides", ones)],
        padding=[*(0 for _ in lead), *begins, *(0 for _ in lead), *ends],
        output_padding=[*(0 for _ in lead), *more],
        dilation=[*lead, *node.integers("dilations", ones)],
        groups=int(node.number("group", 1)),
    )
    result = node.emit(wide)
    if lead:
        batch, channels, _, width = (int(d) for d in result.ty.shape)
        result = relax.op.reshape(result, (batch, channels, width))
    return with_bias(result, node.input(2), len(shape)) if node.has(2) else result


def _reshaped(x: relax.Expr, shape: tuple[int, ...]) -> relax.Expr:
    value = constant_of(x)
    if value is not None:
        return constant(value.reshape(shape))
    return x if static_shape(x) == shape else relax.op.reshape(x, shape)


def _pads(node: Node) -> tuple[list[int], list[int], list[int]]:
    """Begins, ends, and what is added to the output's end. Given an output shape or automatic
    padding, they follow from it.

    Source: ONNX operators, ConvTranspose-11, the equations for ``total_padding``.
    """
    spatial = node.shape(0)[2:]
    ones, zeros = (1,) * len(spatial), (0,) * len(spatial)
    mode, target = node.text("auto_pad", "NOTSET"), node.integers("output_shape")
    extra = node.integers("output_padding", zeros)
    if mode == "VALID" or (mode == "NOTSET" and not target):
        pads = (*zeros, *zeros) if mode == "VALID" else node.integers("pads", (*zeros, *zeros))
        return list(pads[: len(spatial)]), list(pads[len(spatial) :]), list(extra)
    strides, dilations = node.integers("strides", ones), node.integers("dilations", ones)
    target = target or tuple(size * stride for size, stride in zip(spatial, strides, strict=True))
    kernel = node.shape(1)[2:]
    surplus = [
        stride * (size - 1) + more + (taps - 1) * dilation + 1 - wanted
        for stride, size, more, taps, dilation, wanted in zip(
            strides, spatial, extra, kernel, dilations, target, strict=True
        )
    ]
    totals = [max(each, 0) for each in surplus]
    missing = [more + max(-each, 0) for more, each in zip(extra, surplus, strict=True)]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return (small, large, missing) if mode == "SAME_UPPER" else (large, small, missing)
