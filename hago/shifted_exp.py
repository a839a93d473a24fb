"""What is left of a softmax whose division comes later: exp(x - max(x)) over the last axis.

    largest = max(x)      shifted = x - largest      powers = exp(shifted)      total = sum(powers)

hago/prepare/postpone_division.py writes it. Its three operations are one kernel: what is between
them is never in memory, and never quantized.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hago.dataflow import Node


@dataclass(frozen=True)
class ShiftedExp:
    """``source`` is the name of x, ``members`` are the maximum and the difference."""

    source: str
    members: tuple[str, str]


def shifted_exp(nodes: Mapping[str, Node], node: Node) -> ShiftedExp | None:
    """What ``node`` is the exp of; None for any other operation."""
    if node.op != "exp" or node.dtype != "float32":
        return None
    shifted = nodes.get(node.inputs[0])
    if shifted is None or shifted.op != "subtract" or shifted.constants:
        return None
    source, largest = shifted.inputs[0], nodes.get(shifted.inputs[1])
    if largest is None or largest.op != "max" or largest.inputs[0] != source:
        return None
    if not is_last_axis(largest) or shifted.shape != node.shape:
        return None
    return ShiftedExp(source, (largest.name, shifted.name))


def is_sum_of_powers(nodes: Mapping[str, Node], node: Node) -> bool:
    """Whether ``node`` sums the rows of a shifted exp."""
    if node.op != "sum" or 0 in node.constants or not is_last_axis(node):
        return False
    powers = nodes.get(node.inputs[0])
    return powers is not None and shifted_exp(nodes, powers) is not None


def is_last_axis(node: Node) -> bool:
    """Whether the reduction ``node`` keeps its last axis, with one element."""
    attrs, rank = node.call.attrs, len(node.shape)
    if not attrs.keepdims or not attrs.axis:
        return False
    return [int(axis) % rank for axis in attrs.axis] == [rank - 1]
