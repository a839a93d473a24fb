"""Latencies of sub-graphs: measured through a runner, kept on disk, guessed where missing."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from hago.progress import SILENT, Progress
from hago.search.cache import Cache
from hago.search.cost_model import (
    CostModel,
    Matrix,
    ModelError,
    fit_cost_model,
    held_out_error,
)
from hago.search.extract import digest, extract
from hago.search.features import chosen_options, features, works_of
from hago.search.numbers import Numbers
from hago.search.problem import IMPOSSIBLE_MS, Table
from hago.search.runner import Runner, TrialError
from hago.search.segments import Segment
from hago.search.space import Assignment, Option
from hago.search.work import Setting, time_segment

Place = tuple[str, Assignment]  # a class of equal segments, and a configuration of it


@dataclass(frozen=True)
class Bench:
    """Where latencies are measured, and kept: caches are scoped to the machine and versions.

    What failed is kept apart, for one session: it may have been the machine's fault.
    """

    runner: Runner
    setting: Setting
    cache: Cache
    failed: Cache


@dataclass(eq=False)
class Latencies:
    """What is known of the latencies of ``segments``; grows with what is asked for.

    ``failures`` says by segment why a configuration could not be measured.
    """

    numbers: Numbers
    segments: tuple[Segment, ...]
    bench: Bench
    failures: dict[str, str] = field(default_factory=dict)
    _known: dict[Place, float] = field(default_factory=dict)
    _running: dict[str, Future[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._classes = [_class_of(self.numbers, segment) for segment in self.segments]
        self._configurations = [_configurations(self.numbers, s) for s in self.segments]
        self._features = list(map(self._rows, self.segments, self._configurations))
        self._tables: tuple[Table, ...] = ()

    def measure(
        self,
        assignments: Iterable[Assignment],
        progress: Progress = SILENT,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        """Measures every sub-graph of every assignment that is not known yet, until
        ``is_over()``."""
        wanted: dict[Place, tuple[Segment, Assignment]] = {}
        for assignment in assignments:
            for name, segment in zip(self._classes, self.segments, strict=True):
                place = name, tuple(assignment[group] for group in segment.groups)
                if place not in self._known:
                    wanted.setdefault(place, (segment, assignment))
        under_way: deque[tuple[Place, Callable[[], float]]] = deque()
        for place in progress.track(list(wanted), "latencies", len(wanted)):
            if len(under_way) >= self.bench.runner.slots:
                self._learn(*under_way.popleft())
            if is_over():
                break
            under_way.append((place, self._begun(*wanted[place])))
        for begun in under_way:
            self._learn(*begun)

    def _learn(self, place: Place, result: Callable[[], float]) -> None:
        self._known[place] = result()
        self._tables = ()

    def _begun(self, segment: Segment, assignment: Assignment) -> Callable[[], float]:
        """The latency to come, of which the runner may have several under way."""
        model = self.numbers.model(assignment)
        name = digest(model, segment.operations)
        key = {"segment": name}
        found = self.bench.cache.get(key)
        if found is not None:
            return lambda: found
        if self.bench.failed.get(key) is not None:
            why = "it failed in an earlier run of the session"
            return lambda: self._failed(segment, assignment, why)
        if name not in self._running:
            module = extract(model, segment.operations)
            self._running[name] = self.bench.runner.submit(
                time_segment, module, self.bench.setting
            )
        return lambda: self._measured(name, segment, assignment)

    def _measured(self, name: str, segment: Segment, assignment: Assignment) -> float:
        future = self._running[name]
        try:
            latency = future.result()
        except TrialError as error:
            self.bench.failed.put({"segment": name}, IMPOSSIBLE_MS)
            return self._failed(segment, assignment, str(error))
        self.bench.cache.put({"segment": name}, latency)
        return latency

    def _failed(self, segment: Segment, assignment: Assignment, why: str) -> float:
        names = [option.name for option in self._chosen(segment, assignment)]
        self.failures[f"{segment.operations[0]}: {', '.join(names)}"] = why
        return IMPOSSIBLE_MS

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every configuration of every segment, guessed where it was not measured."""
        if not self._tables:
            rows, latencies = self.measurements()
            model = fit_cost_model(rows, latencies) if len(rows) else None
            self._tables = tuple(self._table(number, model) for number in range(len(self.segments)))
        return self._tables

    def error(self) -> ModelError | None:
        """How well the cost model guesses what it has not seen."""
        return held_out_error(*self.measurements())

    def _table(self, number: int, model: CostModel | None) -> Table:
        """The guesses are scaled to agree with what was measured of this very segment."""
        name, configs = self._classes[number], self._configurations[number]
        known = {config: self._known.get((name, config)) for config in configs}
        guessed = np.ones(len(configs)) if model is None else model.predict(self._features[number])
        ratios = [
            np.log(known[config] / guess)
            for config, guess in zip(configs, guessed, strict=True)
            if (value := known[config]) is not None and value < IMPOSSIBLE_MS
        ]
        factor = float(np.exp(np.mean(ratios))) if ratios else 1.0
        found = {
            config: factor * float(guess) if (value := known[config]) is None else value
            for config, guess in zip(configs, guessed, strict=True)
        }
        measured = frozenset(config for config, value in known.items() if value is not None)
        return Table(self.segments[number].groups, found, measured)

    def measurements(self) -> tuple[Matrix, list[float]]:
        """Features and latency of what was measured, each class of segments once."""
        rows, latencies = [], []
        seen: set[str] = set()
        for number, name in enumerate(self._classes):
            if name in seen:
                continue
            seen.add(name)
            for config, row in zip(
                self._configurations[number], self._features[number], strict=True
            ):
                value = self._known.get((name, config))
                if value is not None and value < IMPOSSIBLE_MS:
                    rows.append(row)
                    latencies.append(value)
        return np.asarray(rows), latencies

    def _rows(self, segment: Segment, configurations: Sequence[Assignment]) -> Matrix:
        spec = self.bench.setting.spec
        works = works_of(self.numbers.graph, segment)
        space = self.numbers.space
        return np.asarray(
            [
                features(works, chosen_options(space, segment.groups, config), spec)
                for config in configurations
            ]
        )

    def _chosen(self, segment: Segment, assignment: Assignment) -> Sequence[Option]:
        config = [assignment[group] for group in segment.groups]
        return chosen_options(self.numbers.space, segment.groups, config)


def _configurations(numbers: Numbers, segment: Segment) -> list[Assignment]:
    counts = [len(numbers.space.groups[group].options) for group in segment.groups]
    return list(product(*map(range, counts)))


def _class_of(numbers: Numbers, segment: Segment) -> str:
    """Segments that are the same at every level of the space are the same in between."""
    levels = [digest(model, segment.operations) for model in numbers.levels]
    return hashlib.sha256("".join(levels).encode()).hexdigest()
