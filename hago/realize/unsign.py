"""Signed activations of quantized models, for machines that multiply unsigned by signed bytes.

    dequantize(quantize(x, s, z), s, z) in int8  =>  the same in uint8 with z + 128
"""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from hago.dataflow import Dataflow, Node, read_dataflow
from hago.rebuild import Values, rebuild, substitute

_PRODUCTS = ("nn.conv2d", "matmul")


def unsign_activations(module: ir.IRModule) -> ir.IRModule:
    """A QDQ ``module`` whose left operands of products are unsigned; the real values are the
    same."""
    dataflow = read_dataflow(module)
    chosen = {node.name for node in dataflow.nodes if _is_signed_operand(dataflow, node)}
    readers = {name for pair in chosen for name, _ in dataflow.users()[pair]}

    def rewrite(_: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        name = str(binding.var.name)
        call = substitute(binding.value, values)
        if name not in chosen and name not in readers:
            return call
        data, scale, zero_point = call.args
        shifted = np.uint8(int(zero_point.value.numpy()) + 128)
        if name in chosen:
            return relax.op.quantize(data, scale, relax.const(shifted), -1, "uint8")
        return relax.op.dequantize(data, scale, relax.const(shifted), -1, "float32")

    return rebuild(module, rewrite)


def _is_signed_operand(dataflow: Dataflow, node: Node) -> bool:
    """A per-tensor int8 quantize that only dequantizes read, one of them in front of a product."""
    if node.op != "quantize" or node.dtype != "int8" or node.constants[2].size != 1:
        return False
    nodes, users = dataflow.by_name(), dataflow.users()
    readers = [nodes.get(name) for name, _ in users.get(node.name, ())]
    if not readers or any(reader is None or reader.op != "dequantize" for reader in readers):
        return False
    uses = [use for reader in readers if reader is not None for use in users[reader.name]]
    places = [(nodes[name].op, arg) for name, arg in uses if name in nodes]
    is_left = any(op in _PRODUCTS and arg == 0 for op, arg in places)
    return is_left and not any(op in _PRODUCTS and arg == 1 for op, arg in places)
