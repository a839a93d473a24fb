"""Signs of the codes of an imported model, as the machine's products want them.

    dequantize(quantize(x, s, z), s, z) in int8  =>  the same in uint8 with z + 128

The numbers that the codes stand for are the same: only what lies in memory changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tvm import ir, relax

from hago.dataflow import Dataflow, Node, read_dataflow, tensor_type
from hago.realize.lift import MOVES, reads_codes
from hago.rebuild import Values, rebuild, substitute

_PRODUCTS = ("nn.conv2d", "matmul")
_BYTES = ("int8", "uint8")


@dataclass(frozen=True)
class Signs:
    """Dtypes of the codes of a product's two operands, ``"int8"`` or ``"uint8"``."""

    data: str
    weight: str


def match_signs(module: ir.IRModule, signs: Signs) -> ir.IRModule:
    """``module`` (codes lifted) with operands of products in the dtypes ``signs``."""
    wanted = _wanted(read_dataflow(module), signs)
    nodes = read_dataflow(module).by_name()
    known: dict[tuple[str, str], relax.Expr] = {}

    def rewrite(builder: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        dtype = wanted.get(str(binding.var.name))
        if dtype is None:
            return substitute(binding.value, values)
        codes, scale, zero_point = binding.value.args
        key = (str(codes.name), dtype)
        if key not in known:
            source = nodes.get(key[0])
            known[key] = builder.emit(_recoded(builder, codes, source, dtype, values))
        return relax.op.dequantize(known[key], scale, _shifted(zero_point, dtype), -1, "float32")

    return relax.transform.DeadCodeElimination()(rebuild(module, rewrite))


def _wanted(dataflow: Dataflow, signs: Signs) -> dict[str, str]:
    """By name of a dequantize: the dtype that its codes should have, where it is another one."""
    nodes, users = dataflow.by_name(), dataflow.users()
    found: dict[str, str] = {}
    for node in dataflow.nodes:
        dtype = tensor_type(node.call.args[0])[1] if reads_codes(node) else ""
        sides = _sides(node.name, nodes, users) if dtype in _BYTES else set()
        if sides:
            target = signs.data if 0 in sides else signs.weight
            if target != dtype:
                found[node.name] = target
    return found


def _sides(
    name: str, nodes: Mapping[str, Node], users: Mapping[str, list[tuple[str, int]]]
) -> set[int]:
    """Arguments of products in which ``name`` arrives, itself or moved."""
    sides: set[int] = set()
    for reader, arg in users.get(name, ()):
        op = nodes[reader].op if reader in nodes else ""
        if op in _PRODUCTS:
            sides.add(arg)
        elif op in MOVES:
            sides |= _sides(reader, nodes, users)
    return sides


def _recoded(
    builder: relax.BlockBuilder,
    codes: relax.Expr,
    source: Node | None,
    dtype: str,
    values: Values,
) -> relax.Expr:
    """``codes`` in the other byte: quantized so, or shifted if they come from elsewhere."""
    if source is not None and source.op == "quantize" and 2 in source.constants:
        data, scale, zero_point = source.call.args
        axis = int(source.call.attrs.axis)
        real = substitute(data, values)
        return relax.op.quantize(real, scale, _shifted(zero_point, dtype), axis, dtype)
    wide = builder.emit(relax.op.astype(values[str(codes.name)], "int32"))
    shift = relax.const(np.int32(128 if dtype == "uint8" else -128))
    return relax.op.astype(builder.emit(relax.op.add(wide, shift)), dtype)


def _shifted(zero_point: relax.Expr, dtype: str) -> relax.Expr:
    """A zero point of the other byte as one of ``dtype``."""
    value = zero_point.value.numpy().astype(np.int16)
    return relax.const((value + (128 if dtype == "uint8" else -128)).astype(dtype))
