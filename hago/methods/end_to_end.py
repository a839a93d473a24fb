"""Scales and biases learned by what the whole network gives; the codes of weights stay.

    min over s_w, s_x, b of  E |y - y^|^2 / E |y|^2

Chen et al., EfficientQAT: Efficient Quantization-Aware Training for Large Language Models, arXiv
2407.11062, section 3.3 (E2E-QP): once blocks are reconstructed, quantized weights are fixed, and
only the steps are trained, end to end. Biases are learned beside them (Finkelstein et al., Fighting
Quantization Bias With Bias, arXiv 1906.03193, section 3.2). There are no labels: the results of the
float network are the teacher.

Blocks that were reconstructed one by one each left what they could not mend; only here does one
layer make up for what another lost. A channel has two numbers to learn, so that few samples do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hago.annotate.biases import Bias, biases_of
from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.dataflow import read_dataflow
from hago.gradient import Hooks, Program, over_samples, read_program, torch
from hago.gradient.fake_quantize import gives, model_hooks
from hago.gradient.program import as_tensor
from hago.graph import Edge, QuantModel
from hago.methods.descent import Learned, descend, seeded
from hago.methods.first_samples import first_samples
from hago.methods.learned_steps import LearnedStep, activation_groups, learned_step, step_hooks
from hago.methods.method import register
from hago.scheme import Array

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 4  # samples that run at once where nothing is learned


@register
@dataclass(frozen=True)
class EndToEnd:
    """Changes scales and biases, by ``steps`` steps on ``batch`` of ``samples`` samples.

    An eighth of the samples is not learned from: where they lose, the model stays as it was.
    ``step_rate`` and ``bias_rate`` are relative: to a scale, and to the biases of its layer. It
    comes last in a recipe.
    """

    name: ClassVar[str] = "end_to_end"
    paper: ClassVar[str] = "Chen et al., arXiv 2407.11062, section 3.3"
    extra: ClassVar[str] = "torch"

    steps: int = 400
    batch: int = 8
    step_rate: float = 0.0005
    bias_rate: float = 0.001
    samples: int = 512
    seed: int = 0

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with other scales and biases. Raises DataError where there are no samples."""
        task = _Task.of(self, model, stats)
        numbers = _Numbers.of(model)
        before = task.judge(model_hooks(model))
        learned = [
            Learned([step.exponent for step in numbers.steps], self.step_rate),
            Learned([shift.value for shift in numbers.shifts], self.bias_rate),
        ]

        def loss(picked: Tensor, _: float) -> Tensor:
            return task.error(picked, numbers.hooks())

        with stats.progress.stage(f"{self.name}: {self.steps} steps"):
            descend(loss, learned, self.steps, task.count, self.batch, seeded(self.seed),
                    cooled=True)  # fmt: skip
        found = numbers.into(model)
        return found if task.judge(model_hooks(found)) < before else model


@dataclass(frozen=True, eq=False)
class _Task:
    """Samples ``feed`` of the ``program`` with the ``exact`` results of each.

    The first ``count`` are learned from, the others judge.
    """

    program: Program
    feed: dict[str, Any]
    exact: tuple[Tensor, ...]
    count: int

    @classmethod
    def of(cls, method: EndToEnd, model: QuantModel, stats: Stats) -> _Task:
        needed_for = "it compares what the whole network gives with and without rounding"
        given = first_samples(method.name, stats, method.samples, needed_for)
        program = read_program(model.graph.module)
        feed = program.feed(given)
        with torch.no_grad():
            exact = _results(program, feed, {}, _CHUNK)
        return cls(program, feed, exact, len(given) - len(given) // 8)

    def error(self, picked: Tensor, hooks: Hooks) -> Tensor:
        """The squared error of the results for the samples ``picked``, relative to the results."""
        given = {name: value[picked] for name, value in self.feed.items()}
        found = _results(self.program, given, hooks, None)
        errors = [
            (wanted[picked] - got).square().mean() / (wanted.square().mean() + 1e-30)
            for wanted, got in zip(self.exact, found, strict=True)
        ]
        return torch.stack(errors).sum()

    def judge(self, hooks: Hooks) -> float:
        """The error in the mean over samples that are not learned from (over all, if few)."""
        total = len(self.exact[0])
        first = self.count if self.count < total else 0
        with torch.no_grad():
            errors = [float(self.error(torch.tensor([i]), hooks)) for i in range(first, total)]
        return float(np.mean(errors))


def _results(program: Program, feed: Any, hooks: Hooks, chunk: int | None) -> tuple[Tensor, ...]:
    steps = list(program.steps.values())
    found = over_samples(steps, feed, hooks, program.outputs, chunk)
    return tuple(found[name] for name in program.outputs)


@dataclass(frozen=True, eq=False)
class _Weight:
    """Fixed ``codes`` (without their zero point) whose ``step`` is learned."""

    edge: Edge
    codes: Array
    step: LearnedStep

    def real(self) -> Tensor:
        scale, zero_point = self.step.numbers(self.codes.ndim)
        return (as_tensor(self.codes) - zero_point) * scale


@dataclass(frozen=True, eq=False)
class _Shift:
    """The bias on ``edge``: ``start`` and what is learned, in parts of ``unit``."""

    edge: Edge
    start: Tensor
    value: Tensor
    unit: float

    def bias(self) -> Tensor:
        return self.start + self.value * self.unit


@dataclass(frozen=True, eq=False)
class _Numbers:
    """Everything of a model that is learned; ``base`` are the hooks of what is not."""

    base: Hooks
    weights: Sequence[_Weight]
    activations: Sequence[LearnedStep]
    shifts: Sequence[_Shift]

    @classmethod
    def of(cls, model: QuantModel) -> _Numbers:
        activations = [learned_step(model.quants[g[0]], *g) for g in activation_groups(model)]
        return cls(model_hooks(model), _weights(model), activations, _shifts(model))

    @property
    def steps(self) -> list[LearnedStep]:
        return [*self.activations, *(weight.step for weight in self.weights)]

    def hooks(self) -> Hooks:
        """With these the float program behaves as the model with the numbers as they are now."""
        weights = {(w.edge.dst, w.edge.arg): gives(w.real()) for w in self.weights}
        shifts = {(s.edge.dst, s.edge.arg): gives(s.bias()) for s in self.shifts}
        return {**self.base, **step_hooks(self.activations), **weights, **shifts}

    def into(self, model: QuantModel) -> QuantModel:
        """``model`` with the numbers as they are now."""
        quants = {edge: quant for step in self.steps for edge, quant in step.learned().items()}
        codes = {weight.edge: weight.codes for weight in self.weights}
        biases = {shift.edge: shift.bias().detach().numpy() for shift in self.shifts}
        return replace(
            model.with_quants(quants),
            weights={**model.weights, **codes},
            biases={**model.biases, **biases},
        )


def _weights(model: QuantModel) -> list[_Weight]:
    """The integer weights of layers. Tables that are looked up would only be read in part."""
    nodes = read_dataflow(model.graph.module).by_name()
    return [
        _Weight(edge, model.codes(edge, real), learned_step(model.quants[edge], edge))
        for edge, real in constant_edges(model.graph).items()
        if edge in model.strategy
        and nodes[edge.dst].op in ("nn.conv2d", "matmul")
        and model.strategy[edge].dtype.is_integer
        and model.strategy[edge].computed_in is None
    ]


def _shifts(model: QuantModel) -> list[_Shift]:
    return [_shift(bias) for bias in biases_of(model).values()]


def _shift(bias: Bias) -> _Shift:
    start = as_tensor(bias.value)
    unit = float(start.square().mean().sqrt()) or 1.0
    return _Shift(bias.edge, start, torch.zeros_like(start, requires_grad=True), unit)
