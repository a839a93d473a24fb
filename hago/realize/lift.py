"""Codes of an imported model, from where they are made to where they are read as numbers.

    dequantize(move(q), s, z)  =>  move(dequantize(q, s, z))

Files in ONNX's operator format move codes about (pooling, reshapes, concatenation). Afterwards
codes lie only between a quantize and its dequantize, as in files in QDQ format.
"""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from hago.dataflow import Node, constant_value, flat_args, is_constant, read_dataflow
from hago.rebuild import Values, rebuild, substitute, with_args

# What commutes with a per-tensor dequantize. A maximum does because scales are positive.
MOVES = frozenset(
    {
        "reshape", "permute_dims", "squeeze", "expand_dims", "flatten", "strided_slice",
        "broadcast_to", "tile", "repeat", "flip", "concat", "nn.max_pool2d", "nn.pad",
    }
)  # fmt: skip


def lift_codes(module: ir.IRModule) -> ir.IRModule:
    """``module`` with every per-tensor dequantize moved up to where its codes are made."""
    lift = _Lift({node.name: node for node in read_dataflow(module).nodes})
    return relax.transform.DeadCodeElimination()(rebuild(module, lift.rewrite))


class _Lift:
    """The numbers of codes that were met, by the name of the codes and their dequantize."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self.nodes = nodes
        self.known: dict[tuple[str, bytes], relax.Expr] = {}

    def rewrite(
        self, builder: relax.BlockBuilder, binding: relax.Binding, values: Values
    ) -> relax.Expr:
        node = self.nodes.get(str(binding.var.name))
        if node is None or not reads_codes(node):
            return substitute(binding.value, values)
        return self._real(builder, node.call.args[0], node.call, values)

    def _real(
        self, builder: relax.BlockBuilder, codes: relax.Expr, dequantize: relax.Call, values: Values
    ) -> relax.Expr:
        """``dequantize`` of ``codes``, bound to a variable of the new module."""
        name = str(codes.name)
        key = (name, b"".join(constant_value(n).tobytes() for n in dequantize.args[1:]))
        if key in self.known:
            return self.known[key]
        source = self.nodes.get(name)
        if source is None or source.op not in MOVES or any(map(is_constant, _leaves(source))):
            real = with_args(dequantize, [values[name], *dequantize.args[1:]])
        else:
            leaves = _leaves(source)
            numbers = {str(c.name): self._real(builder, c, dequantize, values) for c in leaves}
            real = _moved(source.call, numbers, dequantize)
        self.known[key] = builder.emit(real, name_hint=f"{name}_real")
        return self.known[key]


def reads_codes(node: Node) -> bool:
    """A per-tensor dequantize of codes that are computed."""
    is_dequantize = node.op == "dequantize" and set(node.constants) == {1, 2}
    return is_dequantize and all(value.size == 1 for value in node.constants.values())


def _leaves(node: Node) -> tuple[relax.Expr, ...]:
    return flat_args(node.value)


def _moved(call: relax.Call, numbers: Values, dequantize: relax.Call) -> relax.Expr:
    """The movement ``call`` of codes, as the movement of the ``numbers`` that they stand for."""
    moved = substitute(call, numbers)
    if str(call.op.name) != "relax.nn.pad":
        return moved
    scale, zero_point = (constant_value(number).reshape(()) for number in dequantize.args[1:])
    code = float(getattr(call.attrs.pad_value, "value", call.attrs.pad_value))
    value = np.float32(code - float(zero_point)) * scale
    width = [int(w) for w in call.attrs.pad_width]
    return relax.op.nn.pad(moved.args[0], width, str(call.attrs.pad_mode), float(value))
