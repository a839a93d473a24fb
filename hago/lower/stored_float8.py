"""Weights that are stored as codes and computed in an 8-bit float: kept in the library as codes.

    w = round(codes * scale)        the form that hago/realize/qdq.py writes
    float32(w), common * float32(w)

Kernels multiply values, so the codes become values in front of each, from bytes and scales that
are all that the library holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from tvm import ir, relax

from hago.codegen.kernels.expand import Expansion, expansion_of
from hago.dataflow import Dataflow, Node, flat_args, is_constant, read_dataflow
from hago.float8 import KINDS
from hago.realize.interpret import evaluate
from hago.rebuild import Values, rebuild, substitute
from hago.scheme import Array, Floats

_CHAIN = ("multiply", "astype")  # from the rounding backwards


@dataclass(frozen=True, eq=False)
class Stored:
    """Integer ``codes`` and their ``scale`` (the same shape, or one that broadcasts to it), the
    ``kind`` of 8-bit float that their products are rounded to, and the power of two behind that."""

    codes: Array
    scale: Floats
    kind: str
    common: float


@dataclass(frozen=True, eq=False)
class PackedCodes:
    """Codes and scales as the library holds them, and how they become values."""

    form: Expansion
    codes: Array
    scales: Floats


def fold_stored(module: ir.IRModule) -> tuple[ir.IRModule, Mapping[bytes, Stored]]:
    """``module`` with such weights as values, and what they are made of, by :func:`content`."""
    dataflow = read_dataflow(module)
    found = _stored(dataflow)
    if not found:
        return module, {}
    nodes, folded = dataflow.by_name(), {}
    for name in found:
        folded[name] = np.ascontiguousarray(_value(nodes, name))

    def rewrite(_: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        name = str(binding.var.name)
        return relax.const(folded[name]) if name in folded else substitute(binding.value, values)

    clean = relax.transform.DeadCodeElimination()(rebuild(module, rewrite))
    return clean, {content(folded[name]): stored for name, stored in found.items()}


def content(array: Array) -> bytes:
    """What tells arrays apart (SHA-256)."""
    return sha256(np.ascontiguousarray(array)).digest()


def packed_form(stored: Stored, pack: Callable[[Array], Array]) -> PackedCodes:
    """``stored`` in the order of a kernel that takes ``pack`` of values."""
    codes = pack(stored.codes.astype(np.float32)).astype(np.int8)
    spread = pack(np.broadcast_to(stored.scale, stored.codes.shape).astype(np.float32))
    form = expansion_of(spread, stored.kind, stored.common)
    rows = spread.reshape(form.outer, form.groups, form.run, form.lanes)
    return PackedCodes(form, codes, np.ascontiguousarray(rows[:, :, 0]))


def _stored(dataflow: Dataflow) -> dict[str, Stored]:
    """Such weights and their values by name, in program order."""
    nodes = dataflow.by_name()
    found: dict[str, Stored] = {}
    for node in dataflow.nodes:
        rounded = _rounded(nodes, node) if node.dtype in KINDS else _value_of(found, node)
        if rounded is not None:
            found[node.name] = rounded
    return found


def _value_of(found: Mapping[str, Stored], node: Node) -> Stored | None:
    """What ``node`` is made of, if it is such weights as float32, or their product."""
    source = found.get(node.inputs[0]) if node.inputs else None
    if source is None or node.op not in ("astype", "multiply") or node.dtype != "float32":
        return None
    if node.op == "astype":
        return source
    common = node.constants.get(1)
    if common is None or common.size != 1:
        return None
    return replace(source, common=float(common.reshape(())))


def _rounded(nodes: Mapping[str, Node], node: Node) -> Stored | None:
    """What ``node`` is made of, if it rounds products of constants to an 8-bit float."""
    kind, chain = KINDS[node.dtype], []
    if node.op != "astype":
        return None
    for op in _CHAIN:
        if 0 in node.constants or node.inputs[0] not in nodes:
            return None
        node = nodes[node.inputs[0]]
        if node.op != op:
            return None
        chain.append(node)
    scaled, cast = chain
    codes, scale = cast.constants.get(0), scaled.constants.get(1)
    if codes is None or codes.dtype != np.int8 or scale is None:
        return None
    return Stored(codes, scale, kind, 1.0)


def _value(nodes: Mapping[str, Node], name: str) -> Array:
    """The value of a chain of constants."""
    node = nodes[name]
    values = {
        str(leaf.name): _value(nodes, str(leaf.name))
        for leaf in flat_args(node.value)
        if not is_constant(leaf)
    }
    found: Array = np.asarray(evaluate(node.value, values))
    return found
