"""Converters for elementwise operators that TVM lowers too early, wrongly or not at all."""

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
    is_narrow,
    widened,
)


@converts("Identity")
def same(node: Node) -> relax.Expr:
    """The input."""
    return node.input(0)


@converts("Dropout")
def dropout(node: Node) -> tuple[relax.Expr, ...]:
    """The input, and a mask that is true everywhere: inference keeps every value."""
    if node.has(2) and node.array(2).item() and not (node.has(1) and node.array(1).item() == 0):
        raise NotConvertible("it is in training mode; export the model in inference mode")
    return node.input(0), constant(np.ones(node.shape(0), np.bool_))


@converts("Cast")
def cast(node: Node) -> relax.Expr:
    """``x.astype(to)``; a cast among the float types is no operation here, all are float32."""
    name = str(onnx.helper.tensor_dtype_to_np_dtype(int(node.number("to", 0))))
    if is_narrow(name):
        raise NotConvertible(f"a cast to {name} while the model runs")
    target, x = widened(name), node.input(0)
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


@converts("Gelu", domain=MICROSOFT)
def gelu(node: Node) -> relax.Expr:
    """``0.5 x (1 + erf(x / sqrt 2))``."""
    return relax.op.nn.gelu(node.input(0))


@converts("Swish")
def swish(node: Node) -> relax.Expr:
    """``x sigmoid(alpha x)``."""
    return gated(node, node.input(0), node.number("alpha", 1.0))


@converts("SwiGLU")
def swish_gated(node: Node) -> relax.Expr:
    """``b`` times the swish of ``a``."""
    gate = node.emit(gated(node, node.input(0), node.number("alpha", 1.0)))
    return relax.op.multiply(gate, node.input(1))


def gated(node: Node, x: relax.Expr, alpha: float) -> relax.Expr:
    """``x sigmoid(alpha x)``."""
    if alpha == 1:
        return relax.op.nn.silu(x)
    inner = node.emit(relax.op.multiply(x, constant(np.float32(alpha))))
    return relax.op.multiply(x, node.emit(relax.op.sigmoid(inner)))


@converts("Celu")
def celu(node: Node) -> relax.Expr:
    """``max(x, 0) + min(alpha (exp(x / alpha) - 1), 0)``."""
    x, alpha = node.input(0), constant(np.float32(node.number("alpha", 1.0)))
    grown = node.emit(relax.op.exp(node.emit(relax.op.divide(x, alpha))))
    below = relax.op.multiply(relax.op.subtract(grown, constant(np.float32(1))), alpha)
    bounded = relax.op.minimum(node.emit(below), constant(np.float32(0)))
    return relax.op.add(relax.op.nn.relu(x), node.emit(bounded))


@converts("IsInf")
def is_infinite(node: Node) -> relax.Expr:
    """Whether the input is one of the infinities that the attributes ask for."""
    x = node.input(0)
    signs = [sign for name, sign in (("detect_positive", 1), ("detect_negative", -1))
             if node.number(name, 1)]  # fmt: skip
    if len(signs) == 2:
        return relax.op.isinf(x)
    if not signs:
        return relax.op.zeros_like(x, "bool")
    return relax.op.equal(x, constant(np.float32(signs[0] * math.inf)))


@converts("Pow")
def power(node: Node) -> relax.Expr:
    """The result has the base's type, whatever the exponent's. Double is exact below 2**53."""
    base, exponent = node.input(0), node.input(1)
    kind = dtype_of(base)
    if kind == dtype_of(exponent) == "float32":
        return relax.op.power(base, exponent)
    wide = "float32" if kind == "float32" else "float64"
    found = relax.op.power(relax.op.astype(base, wide), relax.op.astype(exponent, wide))
    return found if kind == wide else relax.op.astype(found, kind)
