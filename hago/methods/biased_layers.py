"""Layers with biases, run in the float model and in the quantized one side by side, in order.

What a method changes of a layer counts for all that come after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from tvm import relax

from hago.calibrate import Stats
from hago.dataflow import Dataflow, Node, read_dataflow
from hago.gradient import Hooks, Program, Step, over_samples, read_program, torch
from hago.gradient.fake_quantize import model_hooks
from hago.graph import Edge, QuantModel
from hago.methods.first_samples import first_samples
from hago.rebuild import Values, rebuild, substitute, with_leaves
from hago.scheme import Floats

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 8  # samples that run at once
# Of the bias ``node`` and its values in the float and in the quantized model: what the quantized
# one is from now on.
Change = Callable[[Node, "Tensor", "Tensor"], "Tensor"]


class FromSamples(Protocol):
    """A method that looks at the first ``samples`` of the data."""

    name: ClassVar[str]

    @property
    def samples(self) -> int: ...


def change_layers(method: FromSamples, model: QuantModel, stats: Stats, change: Change) -> None:
    """Calls ``change`` for each of :func:`biases`, in order.

    Raises DataError where there are no samples.
    """
    needed_for = "it compares what layers give with and without rounding"
    given = first_samples(method.name, stats, method.samples, needed_for)
    dataflow = read_dataflow(model.graph.module)
    program = read_program(model.graph.module)
    streams = _Streams(program, model_hooks(model), program.feed(given))
    biased = set(biases(dataflow, model))
    for node in stats.progress.track(dataflow.nodes, method.name, len(dataflow.nodes)):
        streams.run(program.steps[node.name])
        if node.name in biased:
            exact, quantized = streams.exact[node.name], streams.quantized[node.name]
            streams.quantized[node.name] = change(node, exact, quantized)
        streams.release(dataflow, node)


def biases(dataflow: Dataflow, model: QuantModel) -> tuple[str, ...]:
    """The additions of a constant to channels, directly after products with quantized weights."""
    nodes, users = dataflow.by_name(), dataflow.users()
    return tuple(
        node.name
        for node in dataflow.nodes
        if node.op == "add"
        and 1 in node.constants
        and node.inputs[0] in nodes
        and _is_quantized(nodes[node.inputs[0]], model)
        and len(users[node.inputs[0]]) == 1
        and nodes[node.inputs[0]].shape == node.shape
    )


def _is_quantized(node: Node, model: QuantModel) -> bool:
    if node.op not in ("nn.conv2d", "matmul") or 1 not in node.constants:
        return False
    return Edge(node.inputs[1], node.name, 1) in model.strategy


class _Streams:
    """The values of the samples in the float model and in the quantized one, kept while needed."""

    def __init__(self, program: Program, hooks: Hooks, feed: Mapping[str, Any]) -> None:
        self.exact, self.quantized = dict(feed), dict(feed)
        self.hooks = hooks
        self.left = _readers_left(program)

    def run(self, step: Step) -> None:
        """The value of one operation in both."""
        name = step.node.name
        for values, hooks in ((self.exact, {}), (self.quantized, self.hooks)):
            reads = {each: values[each] for each in step.node.inputs if each in values}
            with torch.no_grad():
                found = over_samples([step], reads, hooks, [name], _CHUNK)
            values[name] = found[name]

    def release(self, dataflow: Dataflow, node: Node) -> None:
        """Forgets what no later operation reads."""
        for name in set(node.inputs) & set(self.left):
            self.left[name].discard(node.name)
            if not self.left[name]:
                self.exact.pop(name, None)
                self.quantized.pop(name, None)


def _readers_left(program: Program) -> dict[str, set[str]]:
    left: dict[str, set[str]] = {}
    for step in program.steps.values():
        for name in step.node.inputs:
            left.setdefault(name, set()).add(step.node.name)
    return left


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
