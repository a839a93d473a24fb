"""The biases of layers with quantized weights, and a model with other ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from tvm import relax

from hago.dataflow import Dataflow, Node, read_dataflow
from hago.graph import Edge, QuantModel
from hago.rebuild import Values, rebuild, substitute, with_leaves
from hago.scheme import Floats

Users = Mapping[str, Sequence[tuple[str, int]]]  # of Dataflow.users


def biases(dataflow: Dataflow, model: QuantModel) -> tuple[str, ...]:
    """The biases of products with quantized weights, by name, in program order."""
    nodes, users = dataflow.by_name(), dataflow.users()
    return tuple(
        node.name
        for node in dataflow.nodes
        if node.inputs
        and node.inputs[0] in nodes
        and _is_quantized(nodes[node.inputs[0]], model)
        and bias_of(nodes[node.inputs[0]], nodes, users) is node
    )


def bias_of(product: Node, nodes: Mapping[str, Node], users: Users) -> Node | None:
    """The addition of a constant to channels that alone reads ``product``; None where there is
    none."""
    readers = users.get(product.name, ())
    node = nodes.get(readers[0][0]) if len(readers) == 1 else None
    if node is None or node.op != "add" or 1 not in node.constants:
        return None
    return node if node.shape == product.shape else None


def _is_quantized(node: Node, model: QuantModel) -> bool:
    if node.op not in ("nn.conv2d", "matmul") or 1 not in node.constants:
        return False
    return Edge(node.inputs[1], node.name, 1) in model.strategy


def with_biases(model: QuantModel, found: Mapping[str, Floats]) -> QuantModel:
    """``model`` with the biases ``found`` [C], by the names of the additions."""
    nodes = read_dataflow(model.graph.module).by_name()

    def rewrite(_: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        value, name = substitute(binding.value, values), str(binding.var.name)
        if name not in found:
            return value
        own = nodes[name].constants[1]
        shape = np.broadcast_shapes(own.shape, found[name].shape)
        bias = np.broadcast_to(found[name], shape).astype(np.float32)
        return with_leaves(value, {1: relax.const(np.ascontiguousarray(bias))})

    graph = replace(model.graph, module=rebuild(model.graph.module, rewrite))
    return replace(model, graph=graph)
