"""Channels of a tensor moved by constants that the biases of what reads it take back.

    x W + b  =  (x - o) W + (b + o W)

Where a constant is added to the channels of x anyway, nothing is computed at run time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from tvm import relax

from hago.annotate.biases import Users, bias_of
from hago.dataflow import Dataflow, Node, constant_value, read_dataflow
from hago.graph import Edge, QuantModel
from hago.rebuild import Values, rebuild, substitute, with_leaves
from hago.scheme import Array, Floats, PerTensor, TensorQuant

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Movable:
    """An addition ``source`` of one constant a channel. Channel ``carried[c]`` of it is what input
    c of the products ``readers`` is made of, each with the name of its own bias."""

    source: Node
    readers: tuple[tuple[Node, str], ...]
    carried: Ints


def read_by_products(dataflow: Dataflow) -> Iterator[Movable]:
    """Every tensor that only products with constant weights read, where it can be moved."""
    nodes, users = dataflow.by_name(), dataflow.users()
    for node in dataflow.nodes:
        each = movable_for_all(node, nodes, users)
        if each is not None:
            yield each


def movable_for_all(source: Node, nodes: Mapping[str, Node], users: Users) -> Movable | None:
    """The same of one tensor, or None."""
    read_by = users.get(source.name, ())
    read = [nodes.get(user) for user, arg in read_by if not arg]
    products = [node for node in read if node is not None and _is_product(node)]
    if not products or len(products) < len(read_by):
        return None
    return movable(source, products, np.arange(source.shape[-1]), nodes, users)


def movable(
    source: Node,
    products: Sequence[Node],
    carried: Ints,
    nodes: Mapping[str, Node],
    users: Users,
) -> Movable | None:
    """``source`` if it ends in a constant of its channels, as do the ``products`` that read it."""
    biases = [bias_of(product, nodes, users) for product in products]
    names = [bias.name for bias in biases if bias is not None]
    if source.op != "add" or 1 not in source.constants or len(names) < len(products):
        return None
    return Movable(source, tuple(zip(products, names, strict=True)), carried)


def _is_product(node: Node) -> bool:
    return node.op == "matmul" and 1 in node.constants and node.constants[1].ndim == 2


def common_numbers(model: QuantModel, names: Iterable[str]) -> dict[str, TensorQuant]:
    """The numbers of those tensors whose codes have one step, the same for all that read them."""
    users = read_dataflow(model.graph.module).users()
    found: dict[str, TensorQuant] = {}
    for name in names:
        quants = [model.quants.get(Edge(name, *user)) for user in users[name]]
        steps = {
            float(quant.scale)
            for quant in quants
            if quant is not None
            and quant.scheme.dtype.is_integer
            and isinstance(quant.scheme.granularity, PerTensor)
        }
        if len(steps) == 1 and quants[0] is not None and None not in quants:
            found[name] = quants[0]
    return found


def move(model: QuantModel, offsets: Iterable[tuple[Movable, Doubles]]) -> QuantModel:
    """``model`` with ``offsets`` [C] taken from the channels of these tensors: the biases of its
    module and those that it chose."""
    changes: dict[str, Doubles] = {}
    for each, offset in offsets:
        taken = [(each.source.name, -offset)]
        for product, bias in each.readers:
            taken.append((bias, offset[each.carried] @ product.constants[1].astype(np.float64)))
        for bias, change in taken:
            changes[bias] = changes.get(bias, 0.0) + change
    return _with_moved(model, changes) if changes else model


def _with_moved(model: QuantModel, changes: Mapping[str, Doubles]) -> QuantModel:
    def moved(bias: Array, name: str) -> Floats:
        return np.asarray(bias + changes[name]).astype(np.float32)

    def rewrite(_: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        value, name = substitute(binding.value, values), str(binding.var.name)
        if name not in changes:
            return value
        return with_leaves(value, {1: relax.const(moved(constant_value(value.args[1]), name))})

    graph = replace(model.graph, module=rebuild(model.graph.module, rewrite))
    biases = {
        edge: moved(bias, edge.dst) if edge.dst in changes else bias
        for edge, bias in model.biases.items()
    }
    return replace(model, graph=graph, biases=biases)
