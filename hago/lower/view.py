"""A module as grouping sees it: types, users and definitions by name, weights told apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tvm import ir

from hago.dataflow import Dataflow, Node, flat_args, read_dataflow, tensor_type
from hago.lower.expression import Source

Type = tuple[tuple[int, ...], str]


@dataclass(frozen=True, eq=False)
class View:
    """``dataflow`` with its indices. ``weights`` are parameters that hold weights: they do not
    change from call to call, so kernels take them packed."""

    dataflow: Dataflow
    types: dict[str, Type]
    nodes: dict[str, Node]
    order: dict[str, int]
    users: dict[str, frozenset[str]]
    weights: frozenset[str]

    def node(self, name: str) -> Node | None:
        """The operation that gives ``name``; None for parameters and constants."""
        return self.nodes.get(name)

    def type_of(self, name: str) -> Type:
        """Shape and dtype of a value or parameter."""
        return self.types[name]

    def weight_of(self, node: Node, arg: int) -> Source | None:
        """The constant, or the parameter of weights, that ``node`` reads as ``arg``."""
        if arg in node.constants:
            return node.constants[arg]
        name = node.inputs[arg]
        return name if name in self.weights else None

    def weight_type(self, node: Node, arg: int) -> Type:
        """Shape and dtype of what :meth:`weight_of` gives."""
        return tensor_type(flat_args(node.value)[arg])


def view_of(module: ir.IRModule, weights: Iterable[str] = ()) -> View:
    """The view of ``module["main"]``."""
    dataflow = read_dataflow(module)
    types = {str(p.name): tensor_type(p) for p in module["main"].params}
    types.update({node.name: (node.shape, node.dtype) for node in dataflow.nodes})
    users = {
        name: frozenset(reader for reader, _ in readers)
        for name, readers in dataflow.users().items()
    }
    order = {node.name: i for i, node in enumerate(dataflow.nodes)}
    return View(dataflow, types, dataflow.by_name(), order, users, frozenset(weights))
