"""Ranges of activations that lose least together, not each alone.

Y. Nahshan et al., Loss Aware Post-Training Quantization, arXiv 1911.07190, algorithm 1:

1. For ten p from 2 to 4 the ranges with the least error ``sum |x - q(x)|^p`` of each tensor
   (equation 8), and the loss L(p) of the model quantized so.
2. A parabola through L(p): its lowest point p* (section 4.2). Where it has none between 2 and 4,
   the best of the ten.
3. Powell's method on the loss over the steps of all tensors together, from those of p* (4.3).

The paper's loss is the labelled one; without labels it is the squared error of the results, whose
lowest point is the float model. At 8 bits all ranges are nearly as good; the fewer the bits, the
more the errors of tensors depend on each other. Weights keep their scales: these are per channel
here, and have methods of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import minimize

from hago.calibrate import Stats
from hago.calibrate.ranges import lp_range
from hago.gradient import Program, over_samples, read_program, torch
from hago.gradient.fake_quantize import activation_hooks, constant_hooks
from hago.graph import QuantModel
from hago.methods.assign import refill
from hago.methods.first_samples import first_samples
from hago.methods.learned_steps import activation_groups
from hago.methods.method import register
from hago.scheme import TensorQuant

_CHUNK = 8  # samples that run at once
Loss = Callable[[QuantModel], float]


@register
@dataclass(frozen=True)
class Lapq:
    """Sets the ranges of activations by the loss on ``samples`` samples.

    ``powers`` of p are tried; ``sweeps`` of Powell's method go over all ranges, each between
    ``smallest`` and ``largest`` of where it starts.
    """

    name: ClassVar[str] = "lapq"
    paper: ClassVar[str] = "Nahshan et al., arXiv 1911.07190, algorithm 1"
    extra: ClassVar[str] = "torch"

    samples: int = 32
    powers: int = 10
    sweeps: int = 1
    smallest: float = 0.5
    largest: float = 1.5

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with new ranges. Raises DataError where there are no samples."""
        loss = _loss(model, stats, self.samples)
        start = self._layerwise(model, stats, loss)
        return self._jointly(start, loss, stats)

    def _layerwise(self, model: QuantModel, stats: Stats, loss: Loss) -> QuantModel:
        """Steps 1 and 2."""

        def with_power(p: float) -> QuantModel:
            return refill(model, lambda src, scheme: lp_range(stats[src], scheme, p))

        powers = np.linspace(2.0, 4.0, self.powers)
        losses = [loss(with_power(p)) for p in stats.progress.track(powers, self.name, len(powers))]
        best = with_power(lowest_power(powers, losses))
        return best if loss(best) <= min(losses) else with_power(powers[int(np.argmin(losses))])

    def _jointly(self, start: QuantModel, loss: Loss, stats: Stats) -> QuantModel:
        """Step 3: factors of the steps, one for each group of edges with one step."""
        groups = activation_groups(start)

        def scaled(factors: Sequence[float]) -> QuantModel:
            found = {
                edge: _times(start.quants[edge], factor)
                for edges, factor in zip(groups, factors, strict=True)
                for edge in edges
            }
            return start.with_quants(found)

        if not groups or not self.sweeps:
            return start
        found = minimize(
            lambda factors: loss(scaled(factors)),
            np.ones(len(groups)),
            method="Powell",
            bounds=[(self.smallest, self.largest)] * len(groups),
            options={"maxiter": self.sweeps, "xtol": 0.02, "ftol": 1e-3},
        )
        best = scaled(found.x)
        return best if loss(best) < loss(start) else start


def lowest_power(powers: Sequence[float] | Any, losses: Sequence[float]) -> float:
    """Where the parabola through the losses is lowest, or the best of the powers."""
    curvature, slope, _ = np.polyfit(powers, losses, 2)
    lowest = -slope / (2 * curvature) if curvature > 0 else np.inf
    inside = min(powers) <= lowest <= max(powers)
    return float(lowest if inside else powers[int(np.argmin(losses))])


def _times(quant: TensorQuant, factor: float) -> TensorQuant:
    scale = (quant.scale * np.float32(factor)).astype(np.float32)
    return TensorQuant(quant.scheme, scale, quant.zero_point)


def _loss(model: QuantModel, stats: Stats, samples: int) -> Loss:
    """The squared error of the results over their power, for models with ``model``'s constants."""
    given = first_samples(
        Lapq.name,
        stats,
        samples,
        "it judges ranges by the results of the model",
        "Give data with --data, or use a range method: mse, percentile, kl.",
    )
    program = read_program(model.graph.module)
    feed = program.feed(given)
    exact = _results(program, feed, {})
    power = sum(float(each.square().sum()) for each in exact)
    fixed = {place: _once(hook) for place, hook in constant_hooks(model).items()}

    def loss(trial: QuantModel) -> float:
        found = _results(program, feed, {**fixed, **activation_hooks(trial)})
        pairs = zip(found, exact, strict=True)
        return sum(float((a - b).square().sum()) for a, b in pairs) / max(power, 1e-30)

    return loss


def _once(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``hook`` for an argument that is always the same."""
    known: list[Any] = []

    def remembered(real: Any) -> Any:
        if not known:
            known.append(hook(real))
        return known[0]

    return remembered


def _results(program: Program, feed: Any, hooks: Any) -> list[Any]:
    steps, wanted = list(program.steps.values()), list(program.outputs)
    with torch.no_grad():
        found = over_samples(steps, feed, hooks, wanted, _CHUNK)
    return [found[name] for name in wanted]
