"""Converters for onnxruntime's quantized operators (domain com.microsoft).

Source: onnxruntime docs/ContribOperators.md.
"""

from __future__ import annotations

from tvm import relax

from hago.frontend.onnx_convolution import average
from hago.frontend.onnx_node import MICROSOFT, Node, NotConvertible, converts
from hago.frontend.onnx_quantized import bias_of, dequantized, quantized


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
        result = relax.op.add(result, bias_of(node.array(6), node.array(1) * node.array(4)))
    return quantized(result, node.input(7), node.input(8)) if node.has(7) else result


@converts("QLinearAveragePool", domain=MICROSOFT)
def qlinear_average_pool(node: Node) -> relax.Expr:
    """x, its scale and zero; the output's."""
    if node.number("channels_last", 0):
        raise NotConvertible("channels_last")
    x = dequantized(node.input(0), node.input(1), node.input(2))
    return quantized(average(node, x), node.input(3), node.input(4))


@converts("QLinearSoftmax", domain=MICROSOFT)
def qlinear_softmax(node: Node) -> relax.Expr:
    """x, its scale and zero; the output's. `opset` says which softmax is meant."""
    axis = int(node.number("axis", -1)) % len(node.shape(0))
    if node.number("opset", 13) < 13 and axis != len(node.shape(0)) - 1:
        raise NotConvertible("the softmax before opset 13, over several axes")
    x = dequantized(node.input(0), node.input(1), node.input(2))
    return quantized(relax.op.nn.softmax(x, axis=axis), node.input(3), node.input(4))
