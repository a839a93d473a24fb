"""Channels that may stand in any order, because all that gives or reads them can follow.

    f(x W + b) V  =>  f(x W' + b') V'        columns of W and b, rows of V in another order

A tensor's channels are its last axis. They are those of what it is computed from, where each result
channel comes from the same one of the inputs; a sum over all channels begins a new group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
import numpy.typing as npt
from tvm import ir, relax

from hago.dataflow import Dataflow, Node, read_dataflow
from hago.prepare.split_channels import ELEMENTWISE, sums_channels
from hago.rebuild import Values, rebuild, substitute, with_leaves
from hago.scheme import Array

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ChannelGroup:
    """The names of ``tensors`` with the same ``size`` channels, and the products ``readers`` that
    sum over these, in the module's order."""

    tensors: frozenset[str]
    size: int
    readers: tuple[Node, ...]


def channel_groups(dataflow: Dataflow) -> tuple[ChannelGroup, ...]:
    """Every group whose order nothing outside of it sees."""
    nodes, ties = dataflow.by_name(), nx.Graph()
    ties.add_nodes_from(nodes)
    fixed = {*dataflow.params, *dataflow.outputs}
    for node in dataflow.nodes:
        read = [name for arg, name in enumerate(node.inputs) if arg not in node.constants]
        if _is_product(node):
            continue
        if all(name in nodes for name in read) and _keeps(node, [nodes[name] for name in read]):
            nx.add_star(ties, [node.name, *read])
        else:
            fixed |= {node.name, *read}
    free = [frozenset(part) for part in nx.connected_components(ties) if not part & fixed]
    return tuple(
        ChannelGroup(part, nodes[next(iter(part))].shape[-1], tuple(
            node for node in dataflow.nodes if _is_product(node) and node.inputs[0] in part
        ))
        for part in free
    )  # fmt: skip


def order_channels(module: ir.IRModule, orders: Mapping[ChannelGroup, Ints]) -> ir.IRModule:
    """``module`` with the channels of groups in their ``orders``: channel i is what the i-th
    number of the order [size] says. Its results stay, but for how sums are rounded."""
    nodes = read_dataflow(module).by_name()
    known = {name: order for group, order in orders.items() for name in group.tensors}

    def rewrite(_: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        value, node = substitute(binding.value, values), nodes.get(str(binding.var.name))
        if node is None or not node.constants:
            return value
        found = _constants(node, known.get(node.name), known.get(node.inputs[0]))
        return with_leaves(value, {arg: relax.const(array) for arg, array in found.items()})

    return rebuild(module, rewrite)


def _constants(node: Node, gives: Ints | None, reads: Ints | None) -> dict[int, Array]:
    """The constants of ``node`` by argument that change with the orders of the channels that it
    gives and reads."""
    found = {} if gives is None else {
        arg: _along(array, gives, 0 if node.op == "nn.conv2d" else -1)
        for arg, array in node.constants.items()
    }  # fmt: skip
    if reads is not None and _is_product(node):
        weight = found.get(1, node.constants[1])
        found[1] = _along(weight, reads, 3 if node.op == "nn.conv2d" else 0)
    return found


def _along(constant: Array, order: Ints, axis: int) -> Array:
    """``constant`` in ``order`` along ``axis``, if it has so many there."""
    if constant.ndim == 0 or constant.shape[axis] != len(order):
        return constant
    return np.take(constant, order, axis=axis)


def _is_product(node: Node) -> bool:
    """Whether ``node`` sums over all channels of its first input, and gives others."""
    return sums_channels(node) and (node.op == "matmul" or _is_nhwc(node))


def _keeps(node: Node, read: Sequence[Node]) -> bool:
    """Whether each channel of ``node`` comes from the same one of all that it reads."""
    if not read or any(each.shape[-1:] != node.shape[-1:] for each in read):
        return False
    return node.op in ELEMENTWISE or (node.op in _RULES and _RULES[node.op](node))


def _is_depthwise(node: Node) -> bool:
    return _is_nhwc(node) and int(node.call.attrs.groups) == node.shape[-1] and not (
        0 in node.constants or 1 not in node.constants
    )  # fmt: skip


def _is_nhwc(node: Node) -> bool:
    return str(node.call.attrs.data_layout) == "NHWC"


def _is_nhwc_image(node: Node) -> bool:
    return str(node.call.attrs.layout) == "NHWC"


def _leaves_channels(node: Node) -> bool:
    """Of a mean: whether it is not taken over the channels, which stay the last axis."""
    axes = node.call.attrs.axis
    before = len(node.call.args[0].ty.shape)
    return axes is not None and before - 1 not in {int(axis) % before for axis in axes}


def _pads_no_channels(node: Node) -> bool:
    return not any(int(width) for width in node.call.attrs.pad_width[-2:])


# What is read has as many channels as the result; see _keeps.
_RULES: Mapping[str, Callable[[Node], bool]] = {
    "nn.conv2d": _is_depthwise,
    "nn.max_pool2d": _is_nhwc_image,
    "nn.avg_pool2d": _is_nhwc_image,
    "nn.pad": _pads_no_channels,
    "mean": _leaves_channels,
    "reshape": lambda _: True,
}
