"""What a proposer knows: the space, what each choice costs, and what is wanted. Data only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hago.search.dominance import undominated
from hago.search.goal import Figures, Goal
from hago.search.records import Record
from hago.search.space import Assignment, Space

IMPOSSIBLE_MS = 1e6  # the latency of what does not build or run


@dataclass(frozen=True)
class Table:
    """The latency in ms of one sub-graph for every choice of the ``groups`` that it depends on.

    ``measured`` are the configurations that were; the others are predictions.
    """

    groups: tuple[int, ...]
    latency_ms: Mapping[Assignment, float]
    measured: frozenset[Assignment] = frozenset()

    def of(self, assignment: Sequence[int]) -> float:
        return self.latency_ms[self.configuration(assignment)]

    def configuration(self, assignment: Sequence[int]) -> Assignment:
        """The part of ``assignment`` that counts here."""
        return tuple(assignment[group] for group in self.groups)


_DENSITIES = 0.5, 1.0  # of compressed weights: what is measured beyond is the code's doing


@dataclass(frozen=True)
class SizeLine:
    """An artifact has ``base`` bytes and ``density`` for each byte of weights.

    The density is 1, or less where libraries are compressed: the fewer bits, the more even the
    codes, but those of 4 bits still shrink by a fifth.
    """

    base: float
    density: float = 1.0


@dataclass(frozen=True)
class Problem:
    """``noise[group][option]`` is the noise share with that group alone lowered; noises add.

    ``tables`` add up to the latency, times ``latency_factor``, which is what whole artifacts
    showed. ``sizes`` are those of artifacts (None: none was measured yet). Drops rise with the
    noise to the ``drop_power``.
    """

    space: Space
    goal: Goal
    noise: tuple[tuple[float, ...], ...]
    tables: tuple[Table, ...] = ()
    latency_factor: float = 1.0
    sizes: SizeLine | None = None
    drop_power: float = 1.0

    @cached_property
    def choices(self) -> tuple[tuple[int, ...], ...]:
        """For each group the options that a better strategy may have."""
        return undominated(self.space, self.noise, self.tables)

    def noise_of(self, assignment: Assignment) -> float:
        return sum(row[option] for row, option in zip(self.noise, assignment, strict=True))

    def latency_of(self, assignment: Assignment) -> float | None:
        """In ms; None where latencies are not measured."""
        if not self.tables:
            return None
        return self.latency_factor * sum(table.of(assignment) for table in self.tables)

    def size_of(self, assignment: Assignment) -> float | None:
        """Bytes of the artifact."""
        if self.sizes is None:
            return None
        return self.sizes.base + self.sizes.density * self.space.weight_bytes(assignment)

    def cost_of(self, assignment: Assignment) -> float:
        """What bits cost: ms, or bytes of weights where the size counts or latencies are not
        known."""
        latency = self.latency_of(assignment)
        if self.goal.objective == "size" or latency is None:
            return float(self.space.weight_bytes(assignment))
        return latency

    def predict(self, assignment: Assignment, drops: DropCurve) -> Figures:
        noise = self.noise_of(assignment)
        return Figures(
            noise, drops.at(noise), self.latency_of(assignment), self.size_of(assignment)
        )


def by_gain(problem: Problem) -> list[int]:
    """The groups by number, those first that cost most if they alone stay in float32."""
    lowest = problem.space.lowest
    costs = [
        problem.cost_of((*lowest[:group], 0, *lowest[group + 1 :]))
        for group in range(len(lowest))
    ]
    return sorted(range(len(lowest)), key=lambda group: -costs[group])


@dataclass(frozen=True)
class DropCurve:
    """The metric's drop as a rising function of the noise, through what was seen."""

    noises: tuple[float, ...] = ()
    drops: tuple[float, ...] = ()
    power: float = 1.0

    def at(self, noise: float) -> float:
        """Straight in the noise's ``power`` between what was seen; before anything was seen, the
        noise itself."""
        if not self.noises:
            return noise
        reach = np.power(self.noises, self.power)
        return float(np.interp(noise**self.power, reach, self.drops))


def drop_curve(problem: Problem, history: Sequence[Record]) -> DropCurve:
    """The rising curve through the predicted noise and the known drop of each record."""
    points = sorted(
        (problem.noise_of(problem.space.parse(record.precisions)), record.known.drop)
        for record in history
        if (record.simulated or record.measured) and record.known.drop is not None
    )
    if not points:
        return DropCurve()
    noises, drops = zip(*points, strict=True)
    rising = tuple(np.maximum.accumulate(drops).tolist())
    return DropCurve(noises, rising, problem.drop_power)


def latency_factor(problem: Problem, history: Sequence[Record]) -> float:
    """The median of measured over summed latency of whole artifacts; 1 before there is one."""
    ratios = [
        record.measured.latency_ms / sum(table.of(assignment) for table in problem.tables)
        for record in history
        if record.measured and record.measured.latency_ms and problem.tables
        for assignment in [problem.space.parse(record.precisions)]
    ]
    return float(np.median(ratios)) if ratios else 1.0


def size_line(space: Space, history: Sequence[Record], *, compressed: bool) -> SizeLine | None:
    """The line through the measured artifacts with the fewest bytes of weights: bounds lie there.

    It goes through one of them with a density of 1 where libraries are not compressed, or there is
    no other.
    """
    sizes = {
        space.weight_bytes(space.parse(record.precisions)): record.measured.size_bytes
        for record in history
        if record.measured and record.measured.size_bytes is not None
    }
    if not sizes:
        return None
    (low, smallest), *others = sorted(sizes.items())
    density = 1.0
    if compressed and others:
        high, larger = others[0]
        density = float(np.clip((larger - smallest) / (high - low), *_DENSITIES))
    return SizeLine(smallest - density * low, density)
