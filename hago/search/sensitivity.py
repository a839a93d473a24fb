"""How much each group matters, without gradients and with them, and what is true of either.

    noise         the noise of the outputs, one group lowered at a time: measured, what solvers use
    first_order   the expected change of the loss, from gradients (extra ``torch``)
    loss_change   the change of the loss, measured: what both are ranked by

Where time is short only some groups are measured; the others share what lowering all of them
together costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hago.errors import HagoError
from hago.sample import Sample
from hago.search.alone import Pace, Table, measure_alone, share_out
from hago.search.cache import Cache
from hago.search.evaluate import capped_noise
from hago.search.loss import loss_change
from hago.search.metrics import Outputs
from hago.search.numbers import Numbers
from hago.search.space import Assignment, Space
from hago.search.subject import Subject

_FIRST_ORDER = "first order"


@dataclass(frozen=True)
class Sensitivity:
    """By group and option. ``measured`` are the numbers of the groups that were lowered alone: the
    ``noise`` of others is foretold, and their ``loss_change`` is empty. ``first_order`` is None
    where ``missing`` says why."""

    noise: Table
    loss_change: Table
    first_order: Table | None
    missing: str
    measured: tuple[int, ...]

    def fits(self, space: Space) -> bool:
        """Whether it is about the groups of ``space``."""
        wanted = [len(group.options) for group in space.groups]
        tables = (self.noise, self.first_order or self.noise)
        return all([len(row) for row in table] == wanted for table in tables)


def find_sensitivity(subject: Subject, count: int, pace: Pace) -> Sensitivity:
    """The sensitivities on ``count`` samples that stand for all."""
    chosen, weights = _representatives(subject, count)
    samples = [subject.samples[number] for number in chosen]
    exact = [subject.judge.reference.outputs[number] for number in chosen]

    def run(assignment: Assignment) -> Outputs:
        return subject.simulate(assignment, samples)

    def noise(outputs: Outputs) -> float:
        return float(np.dot(weights, _noises(outputs, exact)))

    try:
        foretold, missing = _from_gradients(subject.numbers, samples, pace.cache), ""
    except HagoError as error:
        foretold, missing = None, str(error).splitlines()[0]
    figures = {"noise": noise, "loss": lambda outputs: loss_change(outputs, exact)}
    found = measure_alone(subject.space, run, figures, pace)
    return Sensitivity(
        noise=share_out(subject.space, found["noise"], lambda a: noise(run(a)), foretold),
        loss_change=tuple(found["loss"].get(n, ()) for n in range(len(subject.space.groups))),
        first_order=foretold,
        missing=missing,
        measured=tuple(sorted(found["noise"])),
    )


def sensitivity_of(found: Mapping[str, Any]) -> Sensitivity:
    """What ``dataclasses.asdict`` made JSON of. Raises KeyError, TypeError or ValueError."""
    foretold = found["first_order"]
    return Sensitivity(
        noise=_table(found["noise"]),
        loss_change=_table(found["loss_change"]),
        first_order=None if foretold is None else _table(foretold),
        missing=str(found["missing"]),
        measured=tuple(map(int, found["measured"])),
    )


def _table(rows: Sequence[Sequence[float]]) -> Table:
    return tuple(tuple(map(float, row)) for row in rows)


def _representatives(subject: Subject, count: int) -> tuple[list[int], list[float]]:
    """Of the subject's samples, by what they suffer where all groups are lowered."""
    exact = subject.judge.reference.outputs
    if len(exact) <= count:
        return representatives([0.0] * len(exact), count)
    lowest = subject.simulate(subject.space.lowest, subject.samples)
    return representatives(_noises(lowest, exact), count)


def representatives(noises: Sequence[float], count: int) -> tuple[list[int], list[float]]:
    """The numbers of ``count`` samples, and the weights with which they stand for all.

    Half of them are the noisiest, for themselves: the noise of a classifier that is sure of most of
    its inputs is that of the few others. The other half are spread evenly over the rest, from quiet
    to noisy: groups differ in the samples that they harm.
    """
    total = len(noises)
    if total <= count:
        return list(range(total)), [1 / total] * total
    order = np.argsort(noises, kind="stable").tolist()
    spread = count - count // 2
    rest = total - count // 2
    middles = [order[(2 * number + 1) * rest // (2 * spread)] for number in range(spread)]
    weights = {number: rest / spread / total for number in middles}
    weights.update(dict.fromkeys(order[rest:], 1 / total))
    chosen = sorted(weights)
    return chosen, [weights[number] for number in chosen]


def _noises(outputs: Outputs, exact: Outputs) -> list[float]:
    return [capped_noise([one], [other]) for one, other in zip(outputs, exact, strict=True)]


def _from_gradients(numbers: Numbers, samples: Sequence[Sample], cache: Cache | None) -> Table:
    """What ``cache`` has is not found again."""
    keys = _keys(numbers.space)
    known = [[None if cache is None else cache.get(key) for key in row] for row in keys]
    if all(value is not None for row in known for value in row):
        return tuple(tuple(value for value in row if value is not None) for row in known)
    from hago.search.first_order import first_order

    found = first_order(numbers, samples)
    if cache is not None:
        for row, values in zip(keys, found, strict=True):
            for key, value in zip(row, values, strict=True):
                cache.put(key, value)
    return found


def _keys(space: Space) -> list[list[Mapping[str, str]]]:
    return [
        [
            {"group": group.name, "option": option.name, "figure": _FIRST_ORDER}
            for option in group.options
        ]
        for group in space.groups
    ]
