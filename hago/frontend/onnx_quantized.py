"""Converters for integer-quantized operators: dequantize -> the float operator -> quantize."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper
from tvm import relax

from hago.frontend.onnx_convolution import convolve, with_bias
from hago.frontend.onnx_node import (
    MICROSOFT,
    Array,
    Node,
    NotConvertible,
    constant,
    constant_of,
    converts,
    dtype_of,
    is_narrow,
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
    """Per tensor or per axis; ``output_dtype`` or the zero point say what codes, else uint8."""
    if node.number("block_size", 0):
        raise NotConvertible("blocked quantization (attribute block_size)")
    kind = int(node.number("output_dtype", 0)) or onnx.TensorProto.UINT8
    codes = str(onnx.helper.tensor_dtype_to_np_dtype(kind))
    if is_narrow(codes):
        raise NotConvertible(f"codes of {codes}")
    zero = node.input(2) if node.has(2) else _zero_like(_one_or_axis(node.input(1)), codes)
    if dtype_of(zero) == "float32":
        raise NotConvertible("codes that are floating-point numbers")
    return quantized(node.input(0), node.input(1), zero, int(node.number("axis", 1)))


@converts("DequantizeLinear")
@converts("DequantizeLinear", domain=MICROSOFT)
def dequantize_linear(node: Node) -> relax.Expr:
    """Per tensor or per axis; a constant in blocks of an axis, or of floats, becomes float32."""
    if node.number("block_size", 0) or dtype_of(node.input(0)) == "float32":
        return constant(_real_weight(node))
    zero = node.input(2) if node.has(2) else None
    return dequantized(node.input(0), node.input(1), zero, int(node.number("axis", 1)))


def _real_weight(node: Node) -> Array:
    """What the codes of a constant stand for; numbers hold for the tensor, an axis or a block."""
    codes, scale = node.array(0).astype(np.float32), node.array(1).astype(np.float32)
    zero = node.array(2).astype(np.float32) if node.has(2) else np.zeros_like(scale)
    axis, block = int(node.number("axis", 1)), int(node.number("block_size", 0))

    def each(numbers: Array) -> Array:
        if block:
            return np.take(np.repeat(numbers, block, axis), np.arange(codes.shape[axis]), axis)
        if numbers.size == 1:
            return numbers.reshape(())
        return numbers.reshape([-1 if own == axis % codes.ndim else 1 for own in range(codes.ndim)])

    return (codes - each(zero)) * each(scale)


@converts("QLinearConv")
@converts("QLinearConv", domain=MICROSOFT)
def qlinear_conv(node: Node) -> relax.Expr:
    """x, its scale and zero; w, its; the output's; an int32 bias at scale ``sx * sw``."""
    data = dequantized(node.input(0), node.input(1), node.input(2))
    weight = dequantized(node.input(3), node.input(4), node.input(5), axis=0)
    result = convolve(_with_operands(node, 0, 3), data, node.emit(weight))
    if node.has(8):
        bias = bias_of(node.array(8), node.array(1) * node.array(4))
        result = with_bias(result, bias, len(node.shape(0)))
    return quantized(result, node.input(6), node.input(7))


def bias_of(codes: Array, scale: Array) -> relax.Expr:
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
