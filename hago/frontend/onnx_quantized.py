"""Converters for integer-quantized operators: dequantize -> the float operator -> quantize."""

from __future__ import annotations

import numpy as np
from tvm import relax

from hago.frontend.onnx_convolution import average_pool, convolve, with_bias
from hago.frontend.onnx_node import (
    MICROSOFT,
    Array,
    Node,
    NotConvertible,
    constant,
    constant_of,
    converts,
    dtype_of,
)


def _one_or_axis(x: relax.Expr) -> relax.Expr:
    """A scale or zero point of one element as a scalar, which is how Relax says per-tensor."""
    value = constant_of(x)
    if value is None or value.size != 1:
        return x
    return constant(value.reshape(()))


def _axis(scale: relax.Expr, axis: int) -> int:
    value = constant_of(scale)
    return axis if value is not None and value.ndim == 1 else -1


def dequantized(
    x: relax.Expr, scale: relax.Expr, zero: relax.Expr | None, axis: int = -1
) -> relax.Expr:
    """``(x - zero) * scale`` in float32, per tensor or along `axis`."""
    scale = _one_or_axis(scale)
    zero = _zero_like(scale, dtype_of(x)) if zero is None else _one_or_axis(zero)
    return relax.op.dequantize(x, scale, zero, axis=_axis(scale, axis), out_dtype="float32")


def quantized(x: relax.Expr, scale: relax.Expr, zero: relax.Expr, axis: int = -1) -> relax.Expr:
    """``round(x / scale) + zero``, saturating, in the dtype of `zero`."""
    scale, zero = _one_or_axis(scale), _one_or_axis(zero)
    return relax.op.quantize(x, scale, zero, axis=_axis(scale, axis), out_dtype=dtype_of(zero))


def _zero_like(scale: relax.Expr, dtype: str) -> relax.Expr:
    value = constant_of(scale)
    shape = () if value is None else value.shape
    return constant(np.zeros(shape, dtype))


@converts("QuantizeLinear")
@converts("QuantizeLinear", domain=MICROSOFT)
def quantize_linear(node: Node) -> relax.Expr:
    """Per tensor or per axis; without a zero point the codes are uint8."""
    _refuse_blocks(node)
    zero = node.input(2) if node.has(2) else _zero_like(_one_or_axis(node.input(1)), "uint8")
    return quantized(node.input(0), node.input(1), zero, int(node.number("axis", 1)))


@converts("DequantizeLinear")
@converts("DequantizeLinear", domain=MICROSOFT)
def dequantize_linear(node: Node) -> relax.Expr:
    """Per tensor or per axis."""
    _refuse_blocks(node)
    zero = node.input(2) if node.has(2) else None
    return dequantized(node.input(0), node.input(1), zero, int(node.number("axis", 1)))


def _refuse_blocks(node: Node) -> None:
    if node.number("block_size", 0):
        raise NotConvertible("blocked quantization (attribute block_size)")


@converts("QLinearConv")
@converts("QLinearConv", domain=MICROSOFT)
def qlinear_conv(node: Node) -> relax.Expr:
    """x, its scale and zero; w, its; the output's; an int32 bias at scale ``sx * sw``."""
    data = dequantized(node.input(0), node.input(1), node.input(2))
    weight = dequantized(node.input(3), node.input(4), node.input(5), axis=0)
    result = convolve(_with_operands(node, 0, 3), data, node.emit(weight))
    if node.has(8):
        bias = _bias(node.array(8), node.array(1) * node.array(4))
        result = with_bias(result, bias, len(node.shape(0)))
    return quantized(result, node.input(6), node.input(7))


def _bias(codes: Array, scale: Array) -> relax.Expr:
    """int32 codes at the scale of the products, as float32."""
    return constant((codes.astype(np.float64) * scale).astype(np.float32))


def _with_operands(node: Node, *indices: int) -> Node:
    operands = tuple(node.input(i) for i in indices)
    return Node(
        node.op, node.name, operands, node.attributes, node.outputs, node.opset, node.builder
    )


@converts("QLinearMatMul")
def qlinear_matmul(node: Node) -> relax.Expr:
    """a, its scale and zero; b, its (per column at most); the output's."""
    a = dequantized(node.input(0), node.input(1), node.input(2))
    b = dequantized(node.input(3), node.input(4), node.input(5), axis=len(node.shape(3)) - 1)
    return quantized(relax.op.matmul(a, b), node.input(6), node.input(7))


@converts("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def qlinear_binary(node: Node) -> relax.Expr:
    """a, its scale and zero; b, its; the output's."""
    operator = {"QLinearAdd": relax.op.add, "QLinearMul": relax.op.multiply}[node.op]
    a = dequantized(node.input(0), node.input(1), node.input(2))
    b = dequantized(node.input(3), node.input(4), node.input(5))
    return quantized(operator(a, b), node.input(6), node.input(7))


@converts("QLinearSigmoid", "QLinearLeakyRelu", domain=MICROSOFT)
def qlinear_unary(node: Node) -> relax.Expr:
    """x, its scale and zero; the output's."""
    x = dequantized(node.input(0), node.input(1), node.input(2))
    if node.op == "QLinearSigmoid":
        y = relax.op.sigmoid(x)
    else:
        y = relax.op.nn.leakyrelu(x, node.number("alpha", 0.01))
    return quantized(y, node.input(3), node.input(4))


@converts("QLinearGlobalAveragePool", domain=MICROSOFT)
def qlinear_global_average_pool(node: Node) -> relax.Expr:
    """x, its scale and zero; the output's."""
    rank, is_last = len(node.shape(0)), bool(node.number("channels_last", 0))
    axes = list(range(1, rank - 1)) if is_last else list(range(2, rank))
    x = dequantized(node.input(0), node.input(1), node.input(2))
    return quantized(relax.op.mean(x, axes, keepdims=True), node.input(3), node.input(4))


@converts("QLinearConcat", domain=MICROSOFT)
def qlinear_concat(node: Node) -> relax.Expr:
    """The output's scale and zero; then each tensor with its own."""
    groups = range(2, len(node.inputs), 3)
    parts = [dequantized(node.input(i), node.input(i + 1), node.input(i + 2)) for i in groups]
    joined = relax.op.concat(parts, axis=int(node.number("axis", 0)))
    return quantized(joined, node.input(0), node.input(1))


@converts("QGemm", domain=MICROSOFT)
def qgemm(node: Node) -> relax.Expr:
    """a, its scale and zero; b, its (per row of the output at most); int32 c; the output's."""
    if node.number("transA", 0) or node.number("alpha", 1.0) != 1.0:
        raise NotConvertible("transA, or an alpha other than 1")
    is_transposed = bool(node.number("transB", 0))
    a = dequantized(node.input(0), node.input(1), node.input(2))
    b = dequantized(node.input(3), node.input(4), node.input(5), axis=0 if is_transposed else 1)
    b = relax.op.permute_dims(b, [1, 0]) if is_transposed else b
    result = relax.op.matmul(a, node.emit(b))
    if node.has(6):
        result = relax.op.add(result, _bias(node.array(6), node.array(1) * node.array(4)))
    return quantized(result, node.input(7), node.input(8)) if node.has(7) else result


@converts("QLinearAveragePool", domain=MICROSOFT)
def qlinear_average_pool(node: Node) -> relax.Expr:
    """x, its scale and zero; the output's."""
    if node.number("channels_last", 0):
        raise NotConvertible("channels_last")
    x = dequantized(node.input(0), node.input(1), node.input(2))
    return quantized(average_pool(node, x), node.input(3), node.input(4))


@converts("QLinearSoftmax", domain=MICROSOFT)
def qlinear_softmax(node: Node) -> relax.Expr:
    """x, its scale and zero; the output's. `opset` says which softmax is meant."""
    axis = int(node.number("axis", -1)) % len(node.shape(0))
    if node.number("opset", 13) < 13 and axis != len(node.shape(0)) - 1:
        raise NotConvertible("the softmax before opset 13, over several axes")
    x = dequantized(node.input(0), node.input(1), node.input(2))
    return quantized(relax.op.nn.softmax(x, axis=axis), node.input(3), node.input(4))


@converts("DynamicQuantizeLinear")
def dynamic_quantize_linear(node: Node) -> tuple[relax.Expr, ...]:
    """The tensor itself as "codes" of scale 1: hago chooses scales, but before it runs.

    So a dynamically quantized model is its float model with dequantized weights.
    """
    return node.input(0), constant(np.float32(1)), constant(np.float32(0))


@converts("ConvInteger")
def conv_integer(node: Node) -> relax.Expr:
    """``conv(x - zx, w - zw)``; exact in float32 while the sums stay below 2**24."""
    data = _centred(node, 0, 2, axis=-1)
    weight = node.emit(_centred(node, 1, 3, axis=0))
    return _as_integers(node, convolve(node, data, weight))


@converts("MatMulInteger")
def matmul_integer(node: Node) -> relax.Expr:
    """``(a - za) @ (b - zb)``; exact in float32 while the sums stay below 2**24."""
    a = _centred(node, 0, 2, axis=len(node.shape(0)) - 2)
    b = _centred(node, 1, 3, axis=len(node.shape(1)) - 1)
    return _as_integers(node, relax.op.matmul(a, b))


def _centred(node: Node, index: int, zero: int, axis: int) -> relax.Expr:
    x = node.input(index)
    if dtype_of(x) == "float32":  # from a dynamic quantization, see there
        return x
    offset = node.input(zero) if node.has(zero) else constant(np.zeros((), dtype_of(x)))
    shape = tuple(int(d) for d in _one_or_axis(offset).ty.shape)
    return dequantized(x, constant(np.ones(shape, np.float32)), offset, axis)


def _as_integers(node: Node, result: relax.Expr) -> relax.Expr:
    is_integer = all(dtype_of(node.input(i)) != "float32" for i in (0, 1))
    return relax.op.astype(result, "int32") if is_integer else result
