"""Some output channels of a layer become sums of several, each with weights and a scale of its own.

    f(x, W)  =>  f(x, W_1) + f(x, W_2)_index        W = W_1 + (rows of W_2 at their channels)

``W_2`` has a row for each further summand, and rows of zeros that all other channels take. Where
channels read inputs of their own (groups), the second layer has a row, often zero, for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tvm import ir, relax

from hago.dataflow import Node, read_dataflow
from hago.rebuild import Values, rebuild, substitute, with_leaves
from hago.scheme import Array, Floats

_LANES = 16  # kernels compute so many output channels at once


@dataclass(frozen=True, eq=False)
class Points:
    """The summands of a layer's rows, float32: ``first`` [N, K] of all, ``more`` [E, K] of the
    output channels ``channels`` [E]."""

    first: Floats
    more: Floats
    channels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.more) != len(self.channels) or self.more.shape[1:] != self.first.shape[1:]:
            raise ValueError("a channel for each further row, of as many weights")

    @property
    def turns(self) -> npt.NDArray[np.int64]:
        """How many rows of its channel come before each of ``more``, [E]."""
        same = self.channels[:, None] == self.channels[None, :]
        return np.asarray(np.tril(same, -1).sum(axis=1), np.int64)


def add_points(module: ir.IRModule, points: Mapping[str, Points]) -> ir.IRModule:
    """``module`` with the layers ``points`` (products with constant weights) as sums."""
    nodes = read_dataflow(module).by_name()

    def rewrite(builder: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        name = str(binding.var.name)
        call = substitute(binding.value, values)
        if name not in points:
            return call
        node, own = nodes[name], points[name]
        parts = _at_channels if _groups(node) == 1 else _in_groups
        more = parts(builder, call, node, own)
        total = builder.emit(_with_rows(call, node, own.first))
        for part in more[:-1]:
            total = builder.emit(relax.op.add(total, part))
        return relax.op.add(total, more[-1])

    return rebuild(module, rewrite)


def rows_of(node: Node) -> Floats:
    """The weights of each output channel of ``node``, float32 [N, K]."""
    weight = node.constants[1]
    rows: Floats = weight.T if weight.ndim == 2 else weight.reshape(len(weight), -1)
    return rows


def _at_channels(
    builder: relax.BlockBuilder, call: relax.Call, node: Node, own: Points
) -> list[relax.Expr]:
    """One layer of all further rows, then what each channel takes of it, turn by turn."""
    count = len(own.channels)
    filled = -(-(count + 1) // _LANES) * _LANES  # one row of zeros at least
    rows = np.zeros((filled, own.more.shape[1]), np.float32)
    rows[:count] = own.more
    layer = builder.emit(_with_rows(call, node, rows))
    found = []
    for turn in range(int(own.turns.max()) + 1):
        index = np.full(len(own.first), count, np.int32)
        is_now = own.turns == turn
        index[own.channels[is_now]] = np.flatnonzero(is_now)
        taken = relax.op.take(layer, relax.const(index), axis=len(node.shape) - 1, mode="clip")
        found.append(builder.emit(taken))
    return found


def _in_groups(
    builder: relax.BlockBuilder, call: relax.Call, node: Node, own: Points
) -> list[relax.Expr]:
    """A layer like the first for each turn, with zeros in the rows of other channels."""
    found = []
    for turn in range(int(own.turns.max()) + 1):
        rows, is_now = np.zeros_like(own.first), own.turns == turn
        rows[own.channels[is_now]] = own.more[is_now]
        found.append(builder.emit(_with_rows(call, node, rows)))
    return found


def _with_rows(call: relax.Call, node: Node, rows: Array) -> relax.Expr:
    """``call`` with other weights, given as :func:`rows_of` gives them."""
    shape = node.constants[1].shape
    weight = rows.T if len(shape) == 2 else rows.reshape(len(rows), *shape[1:])
    return with_leaves(call, {1: relax.const(np.ascontiguousarray(weight))})


def _groups(node: Node) -> int:
    return 1 if node.op == "matmul" else int(node.call.attrs.groups)
