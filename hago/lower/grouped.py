"""Products with weights in groups, found in a realized module: the chain that ends in their sum.

    sum(scales * float(matmul(groups of x, codes)), axis of the groups)

The forms are those that hago/realize/grouped.py writes.
"""

from __future__ import annotations

from dataclasses import dataclass

from hago.dataflow import Node
from hago.lower.view import View
from hago.scheme import Array

_CHAIN = ("multiply", "astype", "matmul", "permute_dims", "reshape")  # from the sum backwards


@dataclass(frozen=True, eq=False)
class GroupedProduct:
    """``data`` is the name of x, ``codes`` [groups, .., size, n], ``scales`` [groups, .., 1, n];
    ``members`` are the operations of the chain but the sum itself."""

    data: str
    codes: Array
    scales: Array
    members: tuple[str, ...]


def grouped_product(view: View, node: Node) -> GroupedProduct | None:
    """The product that ``node`` is the sum of; None for any other operation."""
    if node.op != "sum" or [int(axis) for axis in node.call.attrs.axis or ()] != [0]:
        return None
    chain: list[Node] = []
    current = node
    for op in _CHAIN:
        before = view.node(current.inputs[0])
        if before is None or before.op != op or len(view.users[before.name]) != 1:
            return None
        chain.append(current := before)
    scaled, cast, product, _, parts = chain
    if {1} != set(product.constants) or {1} != set(scaled.constants) or cast.dtype != "float32":
        return None
    codes, scales = product.constants[1], scaled.constants[1]
    if product.dtype != "int32" or codes.dtype != "int8" or scales.ndim != codes.ndim:
        return None
    return GroupedProduct(parts.inputs[0], codes, scales, tuple(each.name for each in chain))


def grouped_members(view: View) -> frozenset[str]:
    """The operations that the sums of grouped products stand for."""
    products = (grouped_product(view, node) for node in view.dataflow.nodes)
    return frozenset(name for found in products if found is not None for name in found.members)
