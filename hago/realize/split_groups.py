"""A product with weights in groups is a sum of products with weights per channel.

    matmul(x, concat(w_1, .., w_G))  =>  matmul(x_1, w_1) + .. + matmul(x_G, w_G)

with x_g the part of x that meets the rows w_g. Each product is then one that the machine has: its
scales leave the sum. (Kernels that change scales within one sum would be faster.)
"""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from hago.dataflow import Node, read_dataflow, tensor_type
from hago.realize.qdq import dequantize
from hago.rebuild import Values, emit, rebuild, substitute
from hago.scheme import Array, PerAxis, PerGroup, QuantScheme, TensorQuant


def join_groups(
    builder: relax.BlockBuilder, codes: Array, quant: TensorQuant, name: str
) -> relax.Expr:
    """The float weights [k, n] of ``codes`` with a scale for each group of rows, written as the
    concatenation of groups with a scale for each column."""
    granularity = quant.scheme.granularity
    assert isinstance(granularity, PerGroup)
    assert granularity.axis == 0
    scheme = QuantScheme(quant.scheme.dtype, PerAxis(1), quant.scheme.symmetric)
    parts = np.split(codes, len(quant.scale), axis=0)
    real = [
        emit(builder, dequantize(relax.const(np.ascontiguousarray(part)), each), f"{name}_group")
        for part, scale, zero_point in zip(parts, quant.scale, quant.zero_point, strict=True)
        for each in [TensorQuant(scheme, scale, zero_point)]
    ]
    return real[0] if len(real) == 1 else emit(builder, relax.op.concat(real, axis=0), name)


def split_groups(module: ir.IRModule) -> ir.IRModule:
    """A QDQ ``module`` with the products of grouped weights as sums of products."""
    nodes = read_dataflow(module).by_name()
    grouped = {node.name: nodes[node.inputs[1]].inputs for node in nodes.values()
               if node.op == "matmul" and _is_grouped(nodes, node.inputs[1])}  # fmt: skip
    if not grouped:
        return module

    def rewrite(builder: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        call = substitute(binding.value, values)
        parts = [values[name] for name in grouped.get(str(binding.var.name), ())]
        return _sum_of_products(builder, call.args[0], parts) if parts else call

    return relax.transform.DeadCodeElimination()(rebuild(module, rewrite))


def _is_grouped(nodes: dict[str, Node], weight: str) -> bool:
    """True for a concatenation of dequantized constants."""
    joined = nodes.get(weight)
    if joined is None or joined.op != "concat":
        return False
    parts = [nodes.get(name) for name in joined.inputs]
    return all(part is not None and part.op == "dequantize" and 0 in part.constants
               for part in parts)  # fmt: skip


def _sum_of_products(
    builder: relax.BlockBuilder, data: relax.Expr, parts: list[relax.Expr]
) -> relax.Expr:
    axis, first = len(tensor_type(data)[0]) - 1, 0
    total: relax.Expr | None = None
    for part in parts:
        last = first + tensor_type(part)[0][0]
        piece = builder.emit(relax.op.strided_slice(data, [axis], [first], [last]))
        product = builder.emit(relax.op.matmul(piece, part))
        total = product if total is None else builder.emit(relax.op.add(total, product))
        first = last
    return total
