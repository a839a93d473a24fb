"""The mean error of each channel, taken out of the biases.

    b' = b - (E[y~] - E[y]),    y~ = W~ x~ + b,  y = W x + b

M. Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction,
arXiv 1906.04721, section 4.2 and appendix D (the empirical form): an error of the weights that is
even over the codes is not even over the data, ``E[(W~ - W) x] = (W~ - W) E[x]``, and shifts what
follows. Layers are corrected in order, each on what the quantized and corrected ones before it
give, so that the rounding of activations counts as well. Where the mean error is zero nothing
changes; a layer without a bias of its own keeps its error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from tvm import relax

from hago.calibrate import Stats
from hago.dataflow import Dataflow, Node, read_dataflow
from hago.errors import DataError
from hago.gradient import Hooks, Program, Step, over_samples, read_program, torch
from hago.gradient.fake_quantize import model_hooks
from hago.graph import Edge, QuantModel
from hago.methods.method import register
from hago.rebuild import Values, rebuild, substitute, with_leaves
from hago.scheme import Floats

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 8  # samples that run at once


@register
@dataclass(frozen=True)
class BiasCorrection:
    """Changes the biases of layers with quantized weights, by the first ``samples`` samples."""

    name: ClassVar[str] = "bias_correction"
    paper: ClassVar[str] = "Nagel et al., arXiv 1906.04721, section 4.2"
    extra: ClassVar[str] = "torch"

    samples: int = 64

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with other biases in its module. Raises DataError where there are no samples.

        It comes last in a recipe: what is rounded after it is not corrected.
        """
        given = list(islice(stats.data, self.samples))
        if not given:
            raise DataError(
                "bias_correction: no calibration data",
                fact="it compares the means of what layers give",
                way_out="Give data with --data, or leave the method out.",
            )
        dataflow = read_dataflow(model.graph.module)
        program = read_program(model.graph.module)
        streams = _Streams(program, model_hooks(model), program.feed(given))
        biased = set(biases(dataflow, model))
        corrections: dict[str, Floats] = {}
        nodes = stats.progress.track(dataflow.nodes, self.name, len(dataflow.nodes))
        for node in nodes:
            streams.run(program.steps[node.name])
            if node.name in biased:
                corrections[node.name] = streams.correct(node.name)
            streams.release(dataflow, node)
        return _with_biases(model, corrections)


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

    def correct(self, name: str) -> Floats:
        """What was missing in the mean of each channel of the quantized value, [C]; added to it."""
        error = self.exact[name] - self.quantized[name]
        shift: Tensor = error.reshape(-1, error.shape[-1]).mean(0)
        self.quantized[name] = self.quantized[name] + shift
        return np.asarray(shift.numpy(), np.float32)

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


def _with_biases(model: QuantModel, corrections: Mapping[str, Floats]) -> QuantModel:
    """``model`` with ``corrections`` added to its biases, by the names of the additions."""
    nodes = read_dataflow(model.graph.module).by_name()

    def rewrite(_: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        value, name = substitute(binding.value, values), str(binding.var.name)
        if name not in corrections:
            return value
        bias = nodes[name].constants[1] + corrections[name]
        return with_leaves(value, {1: relax.const(bias.astype(np.float32))})

    graph = replace(model.graph, module=rebuild(model.graph.module, rewrite))
    return replace(model, graph=graph)
