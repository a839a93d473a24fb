"""Sensitivities from gradients: the change of the loss to first order, one backward pass a sample.

    E[(L(q) - L)^2]  ~  sum over edges of  E[ sum_i (dL/dz_i)^2 (q(z)_i - z_i)^2 ]

with z what an edge carries, weights and activations alike, and q its rounding (arXiv 2505.13060,
section 2: rounding errors have no mean and do not depend on each other, so squares add up, and
layers do). The paper has floating formats, whose expected squared error is z^2 times a constant
of the format; here it is the error itself, so that integers and their ranges count as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hago.gradient import Hooks, Program, read_program, run_steps, torch
from hago.gradient.fake_quantize import model_hooks
from hago.gradient.program import as_tensor
from hago.graph import Edge
from hago.sample import Sample
from hago.search.loss import top_classes
from hago.search.numbers import Numbers

if TYPE_CHECKING:
    from torch import Tensor


def first_order(numbers: Numbers, samples: Sequence[Sample]) -> tuple[tuple[float, ...], ...]:
    """The expected squared change of the loss by group and option; 0 in float32.

    Raises HagoError where PyTorch is not installed, ModelError for an operation without gradient.
    """
    program = read_program(numbers.graph.module)
    hooks = [model_hooks(level) for level in numbers.levels]
    edges = [edge for group in numbers.space.groups for edge in group.edges]
    totals = {(edge, level): 0.0 for edge in edges for level in range(len(hooks))}
    for sample in samples:
        for edge, (value, gradient) in _gradients(program, edges, sample).items():
            for level in range(len(hooks)):
                totals[edge, level] += _moved(hooks[level], edge, value, gradient)
    return tuple(
        tuple(
            sum(totals[edge, option] for edge in group.edges) / len(samples) if option else 0.0
            for option in range(len(group.options))
        )
        for group in numbers.space.groups
    )


def _gradients(
    program: Program, edges: Sequence[Edge], sample: Sample
) -> dict[Edge, tuple[Tensor, Tensor]]:
    """What each edge carries for ``sample``, and the gradient of the loss with respect to it."""
    taps: dict[Edge, Tensor] = {}

    def tapped(edge: Edge) -> Any:
        def tap(value: Tensor) -> Tensor:
            taps[edge] = value.detach().clone() if not value.requires_grad else value.clone()
            if taps[edge].requires_grad:
                taps[edge].retain_grad()
            return taps[edge].requires_grad_()

        return tap

    with torch.enable_grad():
        feed = {program.inputs[name]: as_tensor(sample[name]) for name in program.inputs}
        hooks = {(edge.dst, edge.arg): tapped(edge) for edge in edges}
        found = run_steps(program.steps.values(), feed, hooks)
        _loss(found[program.outputs[0]]).backward()
    read = {edge: tap for edge, tap in taps.items() if tap.grad is not None}
    return {edge: (tap.detach(), tap.grad) for edge, tap in read.items()}


def _loss(scores: Tensor) -> Tensor:
    """That of :mod:`hago.search.loss`."""
    tops = torch.from_numpy(top_classes(scores.detach().numpy()))
    return -torch.log_softmax(scores, -1).gather(-1, tops).mean()


def _moved(hooks: Hooks, edge: Edge, value: Tensor, gradient: Tensor) -> float:
    """The sum of (gradient x rounding error)^2; 0 where ``edge`` stays in float32."""
    hook = hooks.get((edge.dst, edge.arg))
    if hook is None:
        return 0.0
    with torch.no_grad():
        error = hook(value) - value
        return float((gradient.double() * error.double()).square().sum())
