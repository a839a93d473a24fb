"""A strategy with its numbers, written into the graph as QDQ.

    y = op(x)  =>  y = op(dequantize(quantize(x)))      on every quantized edge
    y = op(w)  =>  y = op(dequantize(codes of w))       where w is a constant
    y = x + b  =>  y = x + b'                           where a method chose the bias b'
"""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from hago.dataflow import constant_value, flat_args, is_constant
from hago.graph import Edge, QuantModel
from hago.realize.grouped import join_groups
from hago.realize.qdq import constant_codes, decode_stored, dequantize, quantize
from hago.rebuild import Values, emit, rebuild, substitute, with_leaves
from hago.scheme import PerGroup, QuantScheme, TensorQuant

Numbers = tuple[QuantScheme, bytes, bytes]


def insert_qdq(model: QuantModel) -> ir.IRModule:
    """The QDQ form of ``model``: float32 operations with quantize/dequantize on chosen edges.

    Readers of one tensor with the same numbers share one pair. bfloat16 edges get a pair of
    casts.
    """
    shared: dict[tuple[str, Numbers], relax.Expr] = {}
    biases = {(edge.dst, edge.arg): bias for edge, bias in model.biases.items()}

    def rewrite(
        builder: relax.BlockBuilder, binding: relax.Binding, values: Values
    ) -> relax.Expr:
        name = str(binding.var.name)
        replaced: dict[int, relax.Expr] = {}
        for arg, leaf in enumerate(flat_args(binding.value)):
            quant = _quant_of(model, name, arg, leaf)
            if quant is None:
                if (name, arg) in biases:
                    replaced[arg] = relax.const(biases[name, arg])
                continue
            if is_constant(leaf):
                replaced[arg] = _quantized_constant(builder, model, name, arg, leaf, quant)
                continue
            source = str(leaf.name)
            key = (source, _numbers(quant))
            if key not in shared:
                shared[key] = _pair(builder, values[source], quant, source)
            replaced[arg] = shared[key]
        return with_leaves(substitute(binding.value, values), replaced)

    return rebuild(model.graph.module, rewrite)


def _quant_of(model: QuantModel, dst: str, arg: int, leaf: relax.Expr) -> TensorQuant | None:
    names = [f"{dst}.weight", f"{dst}.const{arg}"] if is_constant(leaf) else [str(leaf.name)]
    for src in names:
        edge = Edge(src, dst, arg)
        if edge in model.strategy:
            return model.quants[edge]
    return None


def _numbers(quant: TensorQuant) -> Numbers:
    """The scheme and numbers as a key."""
    return quant.scheme, quant.scale.tobytes(), quant.zero_point.tobytes()


def _pair(
    builder: relax.BlockBuilder, value: relax.Expr, quant: TensorQuant, name: str
) -> relax.Expr:
    """dequantize(quantize(value))."""
    codes = emit(builder, quantize(builder, value, quant), f"{name}_codes")
    return emit(builder, dequantize(codes, quant), f"{name}_real")


def _quantized_constant(
    builder: relax.BlockBuilder,
    model: QuantModel,
    dst: str,
    arg: int,
    leaf: relax.Expr,
    quant: TensorQuant,
) -> relax.Expr:
    edge = next(e for e in model.strategy if (e.dst, e.arg) == (dst, arg))
    codes = model.codes(edge, constant_value(leaf).astype(np.float32))
    if quant.scheme.computed_in is not None:
        return emit(builder, decode_stored(builder, codes, quant), f"{dst}_weight")
    if isinstance(quant.scheme.granularity, PerGroup):
        return join_groups(builder, codes, quant, f"{dst}_weight")
    return emit(builder, dequantize(constant_codes(codes, quant), quant), f"{dst}_weight")
