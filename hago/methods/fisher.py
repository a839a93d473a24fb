"""How much each element of a value matters for the model's results.

The diagonal Fisher information with respect to a value z, for results y with Gaussian errors:

    F = E over e of (J^T e)^2 = diag(J^T J),    J = dy/dz,  e ~ N(0, 1)

so that a change d of z changes the results by sum(F d^2) in the mean. It needs no labels. F is an
expectation over the data: what is kept is its mean over samples, of the shape of z.
Li et al., BRECQ, arXiv 2102.05426, equation 10, takes the squared gradient of the loss itself; with
unlabelled data the loss is the squared error of the results, whose gradient at the float model is
zero and whose curvature is this (its Gauss-Newton matrix).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hago.gradient import Program, run_steps, torch

if TYPE_CHECKING:
    from torch import Tensor


def fisher_diagonal(
    program: Program,
    feed: Mapping[str, Any],
    names: Sequence[str],
    probes: int,
    generator: object,
    chunk: int = 4,
) -> dict[str, Tensor]:
    """F for the values ``names``, each of its shape in the module, over the samples of ``feed``.

    ``probes`` draws of e for each sample are averaged; each tensor is divided by its mean.
    """
    count = len(next(iter(feed.values())))
    found = {name: torch.zeros(program.steps[name].node.shape) for name in names}
    for first in range(0, count, chunk):
        part = {name: value[first : first + chunk] for name, value in feed.items()}
        for _ in range(probes):
            for name, squared in _squared(program, part, names, generator).items():
                found[name] += squared.sum(0)
    return {name: total / (total.mean() + 1e-30) for name, total in found.items()}


def _squared(
    program: Program, feed: Mapping[str, Any], names: Sequence[str], generator: object
) -> dict[str, Tensor]:
    """(J^T e)^2 for one e."""
    count = len(next(iter(feed.values())))
    shapes = {name: program.steps[name].node.shape for name in names}
    taps = {name: torch.zeros((count, *shapes[name]), requires_grad=True) for name in names}

    def results(sample: dict[str, Any], tap: dict[str, Tensor]) -> list[Tensor]:
        values = dict(sample)
        for name, step in program.steps.items():
            values |= run_steps([step], values, {})
            if name in tap:
                values[name] = values[name] + tap[name]
        return [values[name] for name in program.outputs]

    given = torch.func.vmap(results)(dict(feed), taps)
    draws = [torch.randn(each.shape, generator=generator) for each in given]
    total = sum((each * draw).sum() for each, draw in zip(given, draws, strict=True))
    gradients = torch.autograd.grad(total, list(taps.values()), allow_unused=True)
    return {
        name: torch.zeros_like(tap) if gradient is None else gradient.square()
        for (name, tap), gradient in zip(taps.items(), gradients, strict=True)
    }
