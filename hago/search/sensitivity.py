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
    """The sensitivities on the ``count`` samples that suffer most, as all samples would have
    them."""
    chosen, share = _hardest(subject, count)
    samples = [subject.samples[number] for number in chosen]
    exact = [subject.judge.reference.outputs[number] for number in chosen]
    figures = {
        "noise": lambda outputs: capped_noise(outputs, exact),
        "loss": lambda outputs: loss_change(outputs, exact),
    }

    def run(assignment: Assignment) -> Outputs:
        return subject.simulate(assignment, samples)

    try:
        foretold, missing = _from_gradients(subject.numbers, samples, pace.cache), ""
    except HagoError as error:
        foretold, missing = None, str(error).splitlines()[0]
    found = measure_alone(subject.space, run, figures, pace)
    noise = share_out(
        subject.space, found["noise"], lambda a: capped_noise(run(a), exact), foretold
    )
    return Sensitivity(
        noise=tuple(tuple(share * value for value in row) for row in noise),
        loss_change=tuple(found["loss"].get(number, ()) for number in range(len(noise))),
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


def _hardest(subject: Subject, count: int) -> tuple[list[int], float]:
    """Those of the subject's samples that suffer most where all groups are lowered."""
    exact = subject.judge.reference.outputs
    if len(exact) <= count:
        return list(range(len(exact))), 1.0
    lowest = subject.simulate(subject.space.lowest, subject.samples)
    return hardest([capped_noise([o], [e]) for o, e in zip(lowest, exact, strict=True)], count)


def hardest(noises: Sequence[float], count: int) -> tuple[list[int], float]:
    """The numbers of the ``count`` noisiest samples, and the mean of all over the mean of these.

    The noise of a classifier that is sure of most of its inputs is that of the few others: samples
    drawn without regard to that would tell nothing of it.
    """
    chosen = sorted(np.argsort(noises, kind="stable")[-count:].tolist())
    mean = float(np.mean([noises[number] for number in chosen]))
    return chosen, float(np.mean(noises)) / mean if mean else 1.0


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
