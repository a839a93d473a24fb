"""Weights that are stored as codes and computed in an 8-bit float: kept in the library as codes.

    w = common * round(codes * scale)        the form that hago/realize/qdq.py writes

Kernels multiply values, so the codes become values in front of each, from bytes and scales that
are all that the library holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from tvm import ir, relax

from hago.codegen.kernels.expand import Expansion, expansion_of
from hago.dataflow import Dataflow, Node, flat_args, is_constant, read_dataflow
from hago.float8 import KINDS
from hago.realize.interpret import evaluate
from hago.rebuild import Values, rebuild, substitute
from hago.scheme import Array, Floats

_CHAIN = ("astype", "astype", "multiply", "astype")  # from the last product backwards


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
    found = {name: stored for name, stored in _stored(dataflow).items() if stored is not None}
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


def _stored(dataflow: Dataflow) -> dict[str, Stored | None]:
    nodes = dataflow.by_name()
    return {node.name: _chain(nodes, node) for node in dataflow.nodes if node.op == "multiply"}


def _chain(nodes: Mapping[str, Node], last: Node) -> Stored | None:
    """What ``last`` is made of, if it is the last product of such weights."""
    common = last.constants.get(1)
    if common is None or common.size != 1:
        return None
    node, chain = last, []
    for op in _CHAIN:
        if 0 in node.constants or node.inputs[0] not in nodes:
            return None
        node = nodes[node.inputs[0]]
        if node.op != op:
            return None
        chain.append(node)
    _, rounded, scaled, cast = chain
    codes, scale = cast.constants.get(0), scaled.constants.get(1)
    if codes is None or codes.dtype != np.int8 or scale is None or rounded.dtype not in KINDS:
        return None
    return Stored(codes, scale, KINDS[rounded.dtype], float(common.reshape(())))


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
