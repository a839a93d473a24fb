"""A model that came quantized, as its float model and what the file says of each operand.

    op(dequantize(quantize(x, s, z), s, z))  =>  op(x)    with x -> op quantized by (s, z)
    op(dequantize(w, s, z))                  =>  op(w')   with w' the numbers of the codes w
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tvm import ir, relax

from hago.dataflow import Node, constant_value, read_dataflow
from hago.graph import OUTPUT
from hago.prepare.name_bindings import name_bindings
from hago.realize.interpret import evaluate
from hago.realize.lift import MOVES, lift_codes
from hago.rebuild import Values, rebuild, substitute
from hago.scheme import Array

Place = tuple[str, int]  # an operation, or OUTPUT, and the number of its argument


@dataclass(frozen=True, eq=False)
class Given:
    """Codes as a file gives them: ``axis`` counts where there are several scales."""

    dtype: str
    scale: Array
    zero_point: Array
    axis: int


@dataclass(frozen=True, eq=False)
class Stripped:
    """The float ``module``, and what the file quantizes, by the place that reads it."""

    module: ir.IRModule
    given: Mapping[Place, Given]


def strip_qdq(module: ir.IRModule) -> Stripped:
    """``module`` (prepared) without the quantize and dequantize of its operands."""
    module = name_bindings(lift_codes(module))
    dataflow = read_dataflow(module)
    nodes = dataflow.by_name()

    def rewrite(_: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        node = nodes.get(str(binding.var.name))
        if node is None or not _is_constant_dequantize(node):
            return substitute(binding.value, values)
        if 0 in node.constants:
            return relax.const(np.asarray(evaluate(node.value, {}), order="C"))
        source = nodes.get(node.inputs[0])
        is_pair = source is not None and source.op == "quantize"
        return values[source.inputs[0]] if source and is_pair else substitute(node.value, values)

    readers = [(node.name, arg, name) for node in dataflow.nodes if node.op != "quantize"
               for arg, name in enumerate(node.inputs)]  # fmt: skip
    readers += [(OUTPUT, arg, name) for arg, name in enumerate(dataflow.outputs)]
    found = {(reader, arg): _given(nodes, name) for reader, arg, name in readers}
    given = {place: numbers for place, numbers in found.items() if numbers is not None}
    stripped = relax.transform.DeadCodeElimination()(rebuild(module, rewrite))
    return Stripped(stripped, given)


def _is_constant_dequantize(node: Node) -> bool:
    return node.op == "dequantize" and {1, 2} <= set(node.constants)


def _given(nodes: Mapping[str, Node], name: str) -> Given | None:
    """What the file says of the tensor ``name``, also where it was moved since."""
    node = nodes.get(name)
    if node is None:
        return None
    if not _is_constant_dequantize(node):
        return _given(nodes, node.inputs[0]) if node.op in MOVES else None
    codes, scale, zero_point = node.call.args
    axis = int(node.call.attrs.axis) % max(len(node.shape), 1)
    dtype = str(node.constants[0].dtype) if 0 in node.constants else str(codes.ty.dtype)
    return Given(dtype, constant_value(scale), constant_value(zero_point), axis)
