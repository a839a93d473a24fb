"""The noise and the drop of any strategy, from one build of the simulated module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hago.annotate.constants import constant_edges
from hago.dataflow import input_params
from hago.errors import DataError
from hago.graph import QuantModel
from hago.hardware.host import host_spec
from hago.lower.callable import compile_callable
from hago.sample import Sample
from hago.scheme import Array
from hago.search.goal import Figures
from hago.search.metrics import LARGEST_NOISE, Outputs, Reference, Score, noise_share
from hago.search.numbers import Numbers
from hago.search.space import Assignment, Space
from hago.simulate import Simulation, simulate
from hago.simulate.simulate import weight_value

Simulate = Callable[[Assignment, Sequence[Sample]], Outputs]


def build_simulation(numbers: Numbers) -> Simulate:
    """``run(assignment, samples) -> outputs``, compiled once, here, for all strategies."""
    simulation = simulate(numbers.graph)
    run = compile_callable(simulation.module, host_spec())
    inputs = input_params(numbers.graph.module)
    arguments = _Arguments(simulation)

    def outputs(assignment: Assignment, samples: Sequence[Sample]) -> Outputs:
        scalars = arguments.of(numbers.model(assignment), assignment, numbers.space)
        return [
            run({**scalars, **{param: sample[name] for name, param in inputs.items()}})
            for sample in samples
        ]

    return outputs


class _Arguments:
    """Run-time arguments, with one array for each weight and option: kernels keep them packed."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._floats = constant_edges(simulation.graph)
        self._weights: dict[tuple[str, int], Array] = {}

    def of(self, model: QuantModel, assignment: Assignment, space: Space) -> dict[str, Array]:
        found = self._simulation.scalars(model)
        options = {
            edge: option
            for group, option in zip(space.groups, assignment, strict=True)
            for edge in group.edges
        }
        for edge, name in self._simulation.weights.items():
            key = name, options.get(edge, 0)
            if key not in self._weights:
                self._weights[key] = weight_value(model, edge, self._floats[edge])
            found[name] = self._weights[key]
        return found


@dataclass(frozen=True, eq=False)
class Judge:
    """Scores outputs against ``reference``; ``exact`` is the score of the float model itself."""

    reference: Reference
    score: Score
    exact: float

    def figures(self, outputs: Outputs) -> Figures:
        """Noise and drop. Raises DataError for outputs that are not finite."""
        noise = noise_share(outputs, self.reference.outputs)
        return Figures(noise=noise, drop=self.exact - self.score(outputs, self.reference))


def judge_of(
    outputs: Outputs, samples: Sequence[Sample], labels: Array | None, score: Score
) -> Judge:
    """The judge for float ``outputs``. Raises DataError where the metric cannot be had, or they
    are not finite: nothing can be compared with these."""
    for number, output in enumerate(outputs):
        for name, value in output.items():
            if not np.isfinite(value).all():
                raise DataError(
                    f"sample {number}: output '{name}' is not finite in float32",
                    way_out="Leave that sample out of what accuracy is judged on.",
                )
    reference = Reference(outputs, samples, labels)
    return Judge(reference, score, score(outputs, reference))


def capped_noise(outputs: Outputs, exact: Outputs) -> float:
    """The noise share; the largest there is for outputs that are not finite."""
    try:
        return noise_share(outputs, exact)
    except DataError:
        return LARGEST_NOISE
