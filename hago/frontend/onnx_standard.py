"""Converters for standard operators that TVM lowers too early or not at all."""

from __future__ import annotations

import math

import numpy as np
from tvm import relax

from hago.frontend.onnx_node import (
    Node,
    NotConvertible,
    constant,
    constant_of,
    converts,
    static_shape,
)
from hago.frontend.onnx_operators import tvm_converter


@converts("Softmax")
def softmax(node: Node) -> relax.Expr:
    """Before opset 13 the axes from `axis` on are one; the same thing if it is the last."""
    rank = len(node.shape(0))
    axis = int(node.number("axis", -1 if node.opset >= 13 else 1)) % rank
    if node.opset >= 13 or axis == rank - 1:
        return relax.op.nn.softmax(node.input(0), axis=axis)
    shape = node.shape(0)
    flat = relax.op.reshape(node.input(0), (*shape[:axis], math.prod(shape[axis:])))
    return relax.op.reshape(relax.op.nn.softmax(flat, axis=-1), shape)


@converts("InstanceNormalization")
def instance_norm(node: Node) -> relax.Expr:
    """Of each channel by its own mean and variance, over all axes behind it."""
    axes = list(range(2, len(node.shape(0))))
    return relax.op.nn.instance_norm(
        *(node.input(i) for i in range(3)), 1, axes, node.number("epsilon", 1e-5)
    )


@converts("Gemm")
def gemm(node: Node) -> relax.Expr:
    """``alpha * a @ b + beta * c``, a constant `b` transposed and scaled at once."""
    a = node.input(0)
    if node.number("transA", 0):
        a = relax.op.permute_dims(a, [1, 0])
    b, weight = node.input(1), constant_of(node.input(1))
    alpha = node.number("alpha", 1.0)
    if weight is not None:
        weight = weight.T if node.number("transB", 0) else weight
        product = relax.op.matmul(a, constant(weight * np.float32(alpha)))
    else:
        b = relax.op.permute_dims(b, [1, 0]) if node.number("transB", 0) else b
        product = _scaled(relax.op.matmul(a, b), alpha)
    return (
        relax.op.add(product, _scaled(node.input(2), node.number("beta", 1.0)))
        if node.has(2)
        else product
    )


def _scaled(x: relax.Expr, factor: float) -> relax.Expr:
    value = constant_of(x)
    if factor == 1.0:
        return x
    if value is not None:
        return constant(value * np.float32(factor))
    return relax.op.multiply(x, relax.const(factor, "float32"))


@converts("BatchNormalization")
def batch_normalization(node: Node) -> relax.Expr:
    """``gamma * (x - mean) / sqrt(var + epsilon) + beta``, the statistics fixed."""
    if node.number("training_mode", 0):
        raise NotConvertible("it is in training mode; export the model in inference mode")
    operands = [node.input(i) for i in range(5)]
    epsilon = node.number("epsilon", 1e-5)
    normalized = relax.op.nn.batch_norm(*operands, axis=1, epsilon=epsilon, training=False)
    return relax.TupleGetItem(node.emit(normalized), 0)


@converts("Einsum")
def einsum(node: Node) -> relax.Expr:
    """Einstein summation: products by hago.prepare."""
    operands = [x for x in node.inputs if x is not None]
    return relax.op.einsum(relax.Tuple(operands), node.text("equation", "").replace(" ", ""))


@converts("CumSum")
def cumulative_sum(node: Node) -> relax.Expr:
    """Running sums, from the end if `reverse`, without the element itself if `exclusive`."""
    axis, x = int(node.array(1).item()), node.input(0)
    is_reverse = bool(node.number("reverse", 0))
    x = relax.op.flip(x, axis) if is_reverse else x
    is_exclusive = bool(node.number("exclusive", 0))
    sums = relax.op.cumsum(x, axis, exclusive=is_exclusive)
    return relax.op.flip(sums, axis) if is_reverse else sums


@converts("RMSNormalization")
def rms_normalization(node: Node) -> relax.Expr:
    """``scale x / sqrt(mean(x^2) + epsilon)``, over the axes from ``axis`` on."""
    rank = len(node.shape(0))
    axes = list(range(int(node.number("axis", -1)) % rank, rank))
    return rms_norm(node.input(0), node.input(1), axes, node.number("epsilon", 1e-5))


def rms_norm(x: relax.Expr, scale: relax.Expr, axes: list[int], epsilon: float) -> relax.Expr:
    """The norm over the last ``axes``. ``scale`` broadcasts to these."""
    sizes = tuple(static_shape(x)[axis] for axis in axes)
    known = constant_of(scale)
    if known is not None:
        scale = constant(np.broadcast_to(known.astype(np.float32), sizes))
    elif static_shape(scale) != sizes:
        scale = relax.op.broadcast_to(scale, sizes)
    if len(axes) < len(static_shape(x)):
        return relax.op.nn.rms_norm(x, scale, axes, epsilon)
    row = relax.op.nn.rms_norm(  # TVM wants an axis that stays
        relax.op.expand_dims(x, 0), scale, [axis + 1 for axis in axes], epsilon
    )
    return relax.op.squeeze(row, [0])


@converts("LpNormalization")
def lp_normalization(node: Node) -> relax.Expr:
    """The input divided by its sum of magnitudes, or by the root of its sum of squares; 0 by 0
    gives 0."""
    x, axis = node.input(0), [int(node.number("axis", -1))]
    if node.number("p", 2) == 1:
        size = node.emit(relax.op.sum(node.emit(relax.op.abs(x)), axis, keepdims=True))
    else:
        squares = node.emit(relax.op.multiply(x, x))
        size = node.emit(relax.op.sqrt(node.emit(relax.op.sum(squares, axis, keepdims=True))))
    tiny = constant(np.float32(np.finfo(np.float32).tiny))
    return relax.op.divide(x, node.emit(relax.op.maximum(size, tiny)))


@converts("RoiAlign")
def roi_align(node: Node) -> relax.Expr | tuple[relax.Expr, ...]:
    """Means. TVM's maxima are not weighted as ONNX has them."""
    if node.text("mode", "avg") != "avg":
        raise NotConvertible("mode 'max'")
    return tvm_converter("RoiAlign")(node)
