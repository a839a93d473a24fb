"""What a logarithm is taken of: codes with one step for all numbers have no relative precision.

    log(|w * x|^2 M + e)        a spectrogram: quiet bands lie far below one step of loud ones

Of such a chain the last product counts, and one before it where only magnitudes are between. What
is at least 1 is no such argument: log(1 + x) is as smooth as x.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hago.annotate.operators import MOVES, is_anchor
from hago.dataflow import Dataflow, Node

_SUMS = frozenset({"add", "sum", "mean"}) | MOVES
_MAGNITUDES = frozenset({"square", "power", "abs", "sqrt"})
_IN_FRONT = _SUMS | _MAGNITUDES | {"multiply", "divide", "maximum", "clip"}


def read_by_logarithms(dataflow: Dataflow) -> frozenset[str]:
    """The names of these products, and of the operations between them and the logarithms."""
    nodes = dataflow.by_name()
    found: set[str] = set()
    for node in dataflow.nodes:
        if node.op == "log" and not _is_above_one(nodes.get(node.inputs[0])):
            chain = _behind(node, nodes, _IN_FRONT)
            found |= chain
            for name in filter(lambda name: is_anchor(nodes[name]), chain):
                found |= _magnitudes_of(nodes[name], nodes)
    return frozenset(found)


def _is_above_one(node: Node | None) -> bool:
    if node is None or node.op not in ("add", "maximum"):
        return False
    return any(np.all(constant >= 1) for constant in node.constants.values())


def _magnitudes_of(product: Node, nodes: Mapping[str, Node]) -> set[str]:
    """Back from what ``product`` reads by way of magnitudes to the products before them."""
    found: set[str] = set()
    for name in _behind(product, nodes, _SUMS | _MAGNITUDES | {"multiply"}):
        node = nodes[name]
        if node.op in _MAGNITUDES or (node.op == "multiply" and len(set(node.inputs)) == 1):
            found |= {name} | _behind(node, nodes, _SUMS | _MAGNITUDES)
    return found


def _behind(start: Node, nodes: Mapping[str, Node], through: frozenset[str]) -> set[str]:
    """The operations of ``through`` that lead to ``start``, and the products in front of them."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in waiting.pop().inputs:
            node = nodes.get(name)
            if node is None or name in found or not (is_anchor(node) or node.op in through):
                continue
            found.add(name)
            if not is_anchor(node):
                waiting.append(node)
    return found
