"""Converters for standard operators that TVM lowers too early or not at all."""

from __future__ import annotations

import math

import numpy as np
import onnx
from tvm import relax

from hago.frontend.onnx_node import (
    MICROSOFT,
    Node,
    NotConvertible,
    constant,
    constant_of,
    converts,
    dtype_of,
    widened,
)


@converts("Identity", "Dropout")
def same(node: Node) -> relax.Expr:
    """Inference keeps every value of a dropout."""
    return node.input(0)


@converts("Cast")
def cast(node: Node) -> relax.Expr:
    """``x.astype(to)``; a cast among the float types is no operation here, all are float32."""
    target = widened(str(onnx.helper.tensor_dtype_to_np_dtype(int(node.number("to", 0)))))
    x = node.input(0)
    return x if dtype_of(x) == target else relax.op.astype(x, target)


@converts("Clip")
def clip(node: Node) -> relax.Expr:
    """``min(max(x, low), high)``; a bound that is absent, infinite or NaN does not bound."""
    if any(node.has(i) and constant_of(node.input(i)) is None for i in (1, 2)):
        return _clip_to_tensors(node)
    return clip_to(node.input(0), _bound(node, 1, -math.inf), _bound(node, 2, math.inf))


def _bound(node: Node, index: int, unbounded: float) -> float:
    value = float(node.array(index).item()) if node.has(index) else unbounded
    return unbounded if math.isnan(value) else value


def clip_to(x: relax.Expr, low: float, high: float) -> relax.Expr:
    """The smallest operator that clips `x` to the two bounds."""
    kind = dtype_of(x)
    if math.isinf(low) and math.isinf(high):
        return x
    if math.isinf(high):
        is_relu = low == 0 and kind == "float32"
        return relax.op.nn.relu(x) if is_relu else relax.op.maximum(x, relax.const(low, kind))
    if math.isinf(low):
        return relax.op.minimum(x, relax.const(high, kind))
    return (
        relax.op.clip(x, low, high) if kind == "float32" else relax.op.clip(x, int(low), int(high))
    )


def _clip_to_tensors(node: Node) -> relax.Expr:
    x = node.input(0)
    x = relax.op.maximum(x, node.input(1)) if node.has(1) else x
    return relax.op.minimum(x, node.input(2)) if node.has(2) else x


@converts("HardSigmoid")
def hard_sigmoid(node: Node) -> relax.Expr:
    """``clip(alpha * x + beta, 0, 1)``."""
    alpha = relax.const(node.number("alpha", 0.2), "float32")
    beta = relax.const(node.number("beta", 0.5), "float32")
    line = relax.op.add(relax.op.multiply(node.input(0), alpha), beta)
    return relax.op.clip(line, 0.0, 1.0)


@converts("HardSwish")
def hard_swish(node: Node) -> relax.Expr:
    """``x * (clip(x + 3, 0, 6) / 6)``."""
    x = node.input(0)
    gate = relax.op.clip(relax.op.add(x, relax.const(3.0, "float32")), 0.0, 6.0)
    return relax.op.multiply(x, relax.op.divide(gate, relax.const(6.0, "float32")))


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


@converts("Gelu", domain=MICROSOFT)
def gelu(node: Node) -> relax.Expr:
    """``0.5 x (1 + erf(x / sqrt 2))``."""
    return relax.op.nn.gelu(node.input(0))
