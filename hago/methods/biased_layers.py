"""Layers with biases, run in the float model and in the quantized one side by side, in order.

What a method changes of a layer counts for all that come after it. Padding shows a method nothing:
its values are in no range, so that codes are far from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hago.calibrate import Stats
from hago.dataflow import Dataflow, Node, read_dataflow
from hago.gradient import Hooks, Program, Step, over_samples, read_program, torch
from hago.gradient.fake_quantize import model_hooks
from hago.graph import QuantModel
from hago.methods.biases import biases
from hago.methods.first_samples import first_samples

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 8  # samples that run at once
# Of the bias ``node``, its values [rows, C] in the float and in the quantized model, and the sample
# [rows] of each: the factor and the shift [C] of the quantized ones from now on.
Change = Callable[[Node, "Tensor", "Tensor", "Tensor"], tuple["Tensor | float", "Tensor"]]


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
    feed = program.feed(given)
    mask = feed.get(program.inputs.get(stats.mask, ""))
    counted = None if mask is None else mask.reshape(-1) != 0
    streams = _Streams(program, model_hooks(model), feed)
    biased = set(biases(dataflow, model))
    for node in stats.progress.track(dataflow.nodes, method.name, len(dataflow.nodes)):
        streams.run(program.steps[node.name])
        if node.name in biased:
            exact, quantized = streams.exact[node.name], streams.quantized[node.name]
            kept = _counted_rows(exact, counted)
            sample = kept // (len(_rows(exact)) // len(given))
            factor, shift = change(node, _rows(exact)[kept], _rows(quantized)[kept], sample)
            streams.quantized[node.name] = quantized * factor + shift
        streams.release(dataflow, node)


def _rows(values: Tensor) -> Tensor:
    return values.reshape(-1, values.shape[-1])


def _counted_rows(values: Tensor, counted: Tensor | None) -> Tensor:
    """The numbers of the rows of ``values`` [.., C] that are ``counted`` [rows], or of all, where
    it is not of as many."""
    count = len(_rows(values))
    if counted is None or len(counted) != count:
        return torch.arange(count)
    return counted.nonzero().squeeze(1)


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
