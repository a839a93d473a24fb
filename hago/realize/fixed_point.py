"""Requantization without floating point, for machines that ask for it.

    quantize(clip(dequantize(acc, s) + b), so, zo)
        =>  clip(round_shift(sqrdmulh(acc + round(b/s), m), n) + zo)     m 2^-31-n = s / so
    quantize(dequantize(a) + dequantize(b), so, zo)
        =>  clip(rescale(rescale(a - za << 20, sa/S) + rescale(b - zb << 20, sb/S), ..) + zo)

``sqrdmulh`` and the rounding shift are Arm's instructions of that name (Arm A-profile ARM,
C7.2 SQRDMULH, SRSHL); the additions follow TensorFlow Lite's quantized ADD. Everything is
written in 64-bit Relax operations, which the interpreter and TVM compute alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from tvm import ir, relax

from hago.dataflow import Dataflow, Node, read_dataflow
from hago.rebuild import Values, rebuild, substitute

Floats = npt.NDArray[np.float64]
_INT32 = (-(2**31), 2**31 - 1)
_ADD_SHIFT = 20  # head-room of TensorFlow Lite's 8-bit addition


@dataclass(eq=False)
class _Chain:
    """What leads to one quantize: its source(s), a bias, and the bounds of clips on the way."""

    quantize: Node
    sources: list[Node] = field(default_factory=list)
    operator: str = ""
    bias: npt.NDArray[np.float32] | None = None
    low: float = -np.inf
    high: float = np.inf


def use_fixed_point(module: ir.IRModule) -> ir.IRModule:
    """``module`` (realized) with integer arithmetic wherever a chain can be expressed so."""
    dataflow = read_dataflow(module)
    chains = {n.name: c for n in dataflow.nodes if (c := _find(dataflow, n)) is not None}

    def rewrite(
        builder: relax.BlockBuilder, binding: relax.Binding, values: Values
    ) -> relax.Expr:
        chain = chains.get(str(binding.var.name))
        if chain is None:
            return substitute(binding.value, values)
        return _emit(builder, chain, values)

    return relax.transform.DeadCodeElimination()(rebuild(module, rewrite))


def _find(dataflow: Dataflow, node: Node) -> _Chain | None:
    """The chain that ends in the quantize ``node``, if integers can express it."""
    if node.op != "quantize" or any(value.size != 1 for value in node.constants.values()):
        return None
    nodes = dataflow.by_name()
    chain = _Chain(node)
    current = nodes.get(node.inputs[0])
    while current is not None and current.op in ("nn.relu", "clip") and chain.bias is None:
        low, high = _bounds(current)
        chain.low, chain.high = max(chain.low, low), min(chain.high, high)
        current = nodes.get(current.inputs[0])
    if current is None:
        return None
    if current.op == "add" and 1 in current.constants:
        chain.bias = current.constants[1]
        current = nodes.get(current.inputs[0])
    if current is not None and current.op in ("add", "multiply") and not current.constants:
        chain.operator = current.op
        chain.sources = [nodes[name] for name in current.inputs if name in nodes]
        usable = len(chain.sources) == 2 and chain.bias is None
        bytes_only = all(_is_dequantize(s) and _is_scalar_byte(s) for s in chain.sources)
        return chain if usable and bytes_only else None
    chain.sources = [current] if current is not None else []
    return chain if current is not None and _is_dequantize(current) else None


def _bounds(node: Node) -> tuple[float, float]:
    if node.op == "nn.relu":
        return 0.0, np.inf
    low, high = (float(getattr(arg.value, "value", arg.value)) for arg in node.call.args[1:3])
    return low, high


def _is_dequantize(node: Node) -> bool:
    return node.op == "dequantize" and set(node.constants) >= {1, 2}


def _is_scalar_byte(node: Node) -> bool:
    dtype = str(node.call.args[0].ty.dtype)
    return dtype in ("int8", "uint8") and node.constants[1].size == 1


def _emit(builder: relax.BlockBuilder, chain: _Chain, values: Values) -> relax.Expr:
    scale = float(chain.quantize.constants[1].reshape(()))
    if chain.operator == "add":
        total = _sum(builder, chain, values, scale)
    elif chain.operator == "multiply":
        total = _product(builder, chain, values, scale)
    else:
        total = _accumulated(builder, chain, values, scale)
    return _saturate(builder, chain, total, scale)


def _accumulated(
    builder: relax.BlockBuilder, chain: _Chain, values: Values, scale: float
) -> relax.Expr:
    (source,) = chain.sources
    ratio = source.constants[1].astype(np.float64)
    total = _centred(builder, source, values)
    if chain.bias is not None:
        bias = chain.bias.astype(np.float64)
        coarser = _excess_bits(bias, ratio)
        total = _shifted_right(builder, total, coarser)
        ratio = ratio * 2.0**coarser
        total = builder.emit(relax.op.add(total, _const(np.rint(bias / ratio))))
    return rescale(builder, total, ratio / scale)


def _excess_bits(bias: Floats, ratio: Floats) -> npt.NDArray[np.int64]:
    """By how many bits a bias in units of the accumulator is wider than 30.

    Channels with next to no weights have tiny units. There the sums are rounded to coarser ones,
    which are 2^-30 of the bias.
    """
    units = np.maximum(np.abs(bias) / ratio, 1.0)
    return np.maximum(np.ceil(np.log2(units)) - 30, 0).astype(np.int64)


def _sum(
    builder: relax.BlockBuilder, chain: _Chain, values: Values, scale: float
) -> relax.Expr:
    scales = [float(source.constants[1].reshape(())) for source in chain.sources]
    common = 2 * max(scales)
    parts = []
    for source, own in zip(chain.sources, scales, strict=True):
        shift = _const(1 << _ADD_SHIFT)
        wide = builder.emit(relax.op.multiply(_centred(builder, source, values), shift))
        parts.append(rescale(builder, wide, np.asarray(own / common)))
    total = builder.emit(relax.op.add(*parts))
    return rescale(builder, total, np.asarray(common / (scale * 2**_ADD_SHIFT)))


def _product(
    builder: relax.BlockBuilder, chain: _Chain, values: Values, scale: float
) -> relax.Expr:
    left, right = (_centred(builder, source, values) for source in chain.sources)
    factors = [float(source.constants[1].reshape(())) for source in chain.sources]
    total = builder.emit(relax.op.multiply(left, right))
    return rescale(builder, total, np.asarray(factors[0] * factors[1] / scale))


def _centred(builder: relax.BlockBuilder, source: Node, values: Values) -> relax.Expr:
    """The codes of ``source`` less its zero point, in int64."""
    codes = substitute(source.call.args[0], values)
    wide = builder.emit(relax.op.astype(codes, "int64"))
    zero_point = source.constants[2].astype(np.int64)
    if not np.any(zero_point):
        return wide
    return builder.emit(relax.op.subtract(wide, _const(zero_point)))


def fixed_point_multiplier(ratio: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """``(m, n)`` with ``ratio ~ m 2^(-31-n)`` and ``2^30 <= m < 2^31``; n is negative above 1.

    Relative error at most 2^-31 (gemmlowp's ``QuantizeMultiplier``).
    """
    mantissa, exponent = np.frexp(np.asarray(ratio, np.float64))
    multiplier = np.rint(mantissa * 2**31).astype(np.int64)
    rounded_up = multiplier == 2**31
    multiplier = np.where(rounded_up, 2**30, multiplier)
    exponent = exponent.astype(np.int64) + rounded_up
    return multiplier, -exponent


def rescale(builder: relax.BlockBuilder, total: relax.Expr, ratio: Floats) -> relax.Expr:
    """``total * ratio`` in int64: left shift if needed, SQRDMULH, rounding right shift."""
    multiplier, shift = fixed_point_multiplier(ratio)
    left, right = np.maximum(-shift, 0), np.maximum(shift, 0)

    def step(operation: relax.Expr) -> relax.Expr:
        return builder.emit(operation)

    if np.any(left):
        # SQSHL saturates at int32. What does lies outside of every 8-bit code afterwards.
        total = step(relax.op.clip(total, *_INT32))
        total = step(relax.op.multiply(total, _const(np.int64(1) << np.minimum(left, 31))))
        total = step(relax.op.clip(total, *_INT32))
    total = step(relax.op.multiply(total, _const(multiplier)))
    total = step(relax.op.add(total, _const(1 << 30)))
    total = step(relax.op.right_shift(total, _const(31)))
    return _shifted_right(builder, total, right)


def _shifted_right(
    builder: relax.BlockBuilder, total: relax.Expr, bits: npt.NDArray[np.int64]
) -> relax.Expr:
    """``total / 2^bits`` rounded (SRSHL); more bits than a sum has leave nothing of it."""
    if not np.any(bits):
        return total
    bits = np.minimum(bits, 62)
    half = np.where(bits > 0, np.int64(1) << np.maximum(bits - 1, 0), 0).astype(np.int64)
    total = builder.emit(relax.op.add(total, _const(half)))
    return builder.emit(relax.op.right_shift(total, _const(bits)))


def _const(value: npt.ArrayLike) -> relax.Expr:
    """An int64 constant: ``relax.const`` narrows to int32 unless told."""
    return relax.const(np.asarray(value, np.int64), "int64")


def _saturate(
    builder: relax.BlockBuilder, chain: _Chain, total: relax.Expr, scale: float
) -> relax.Expr:
    """Shift by the zero point, clip to the codes that the bounds of the chain allow."""
    zero_point = int(chain.quantize.constants[2].reshape(()))
    bounds = np.iinfo(chain.quantize.dtype)
    low, high = (np.clip(b / scale, -(2.0**31), 2.0**31) for b in (chain.low, chain.high))
    first = max(int(bounds.min), int(np.rint(low)) + zero_point)
    last = min(int(bounds.max), int(np.rint(high)) + zero_point)
    if zero_point:
        total = builder.emit(relax.op.add(total, _const(zero_point)))
    clipped = builder.emit(relax.op.clip(total, first, last))
    return relax.op.astype(clipped, chain.quantize.dtype)
