"""One trial: predict, simulate, and where it may be the best so far, build and measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hago.deploy.artifact import folder_bytes, replace_manifest
from hago.edges import edge_reports
from hago.errors import DataError
from hago.realize import realize
from hago.report import EdgeReport
from hago.search.disk import DiskError
from hago.search.goal import Figures
from hago.search.latency import Latencies
from hago.search.metrics import drop_power
from hago.search.problem import Problem, drop_curve, latency_factor, size_line
from hago.search.records import Record, best_record
from hago.search.runner import Runner, TrialError
from hago.search.sensitivity import Sensitivity
from hago.search.space import Assignment
from hago.search.subject import Subject
from hago.search.work import Setting, Verified, verify

FIRST = "float32"  # who proposes the first trial
LEVEL = "level"  # and those in which all groups go down together
# An artifact further from float than this is wrong, not rounded in another order: it may differ
# from its simulation by one code in a thousand.
_NOISE_FACTOR, _NOISE_FLOOR = 10.0, 1e-4
_MARGIN = 1.02  # a prediction this much above the best is worth a measurement


@dataclass(frozen=True, eq=False)
class Laboratory:
    """Tries assignments. ``sensitivity`` is None before it is known; ``latencies`` learns on the
    way, and is None where none are needed.

    ``best`` is the folder of the best artifact so far, with which others are measured in turns.
    """

    subject: Subject
    runner: Runner
    setting: Setting
    sensitivity: Sensitivity | None
    latencies: Latencies | None
    best: Path

    @property
    def sensitivities(self) -> int:
        """The groups whose sensitivities were measured."""
        return 0 if self.sensitivity is None else len(self.sensitivity.measured)

    def problem(self, records: Sequence[Record]) -> Problem:
        """What proposers are given after ``records``."""
        tables = self.latencies.tables if self.latencies is not None else ()
        space, request = self.subject.space, self.subject.request
        silent = tuple((0.0,) * len(group.options) for group in space.groups)
        noise = silent if self.sensitivity is None else self.sensitivity.noise
        problem = Problem(space, request.goal, noise, tables)
        return replace(
            problem,
            latency_factor=latency_factor(problem, records),
            sizes=size_line(space, records, compressed=request.compressed),
            drop_power=drop_power(request.metric),
        )

    def attempt(
        self, proposer: str, assignment: Assignment, records: Sequence[Record], folder: Path
    ) -> Record:
        """The record of trying ``assignment``; its artifact is in ``folder`` if it was measured.

        Raises DiskError where nothing can be written: no strategy's fault.
        """
        names = tuple(self.subject.space.names(assignment))
        number = 1 + max((earlier.trial for earlier in records), default=-1)  # some may be lost
        predicted = self._predicted(assignment, records)
        record = Record(
            number, proposer, names, predicted, sensitivities=self.sensitivities
        )
        try:
            outputs = self.subject.simulate(assignment, self.subject.samples)
            record = replace(record, simulated=self.subject.judge.figures(outputs))
            if self._promises(record, records) and self.latencies is not None:
                self.latencies.measure([assignment])
                predicted = self._predicted(assignment, records)
                record = replace(record, predicted=predicted, is_timed=True)
            if self._promises(record, records):
                record = replace(
                    record, measured=self._measured(assignment, record, records, folder)
                )
        except DiskError:
            raise
        except (TrialError, DataError) as error:
            record = replace(record, error=str(error))
        return record

    def rebuild(self, record: Record, folder: Path) -> None:
        """Builds the artifact of a trial once more, with what was measured then."""
        self._built(self.subject.space.parse(record.precisions), folder, None)
        self._describe(record, folder)

    def _predicted(self, assignment: Assignment, records: Sequence[Record]) -> Figures:
        problem = self.problem(records)
        found = problem.predict(assignment, drop_curve(problem, records))
        return found if self.sensitivity is not None else replace(found, noise=None, drop=None)

    def _promises(self, record: Record, records: Sequence[Record]) -> bool:
        """Whether it may be better than the best that was measured."""
        goal, known = self.subject.request.goal, record.known
        best = best_record(records, goal)
        if best is None or best.measured is None:
            return True
        if record.proposer == LEVEL:
            return goal.max_drop is None or (known.drop or 0.0) <= goal.max_drop
        latency = None if known.latency_ms is None else known.latency_ms / _MARGIN
        return goal.rank(replace(known, latency_ms=latency)) < goal.rank(best.measured)

    def _measured(
        self, assignment: Assignment, record: Record, records: Sequence[Record], folder: Path
    ) -> Figures:
        best = best_record(records, self.subject.request.goal)
        found = self._built(assignment, folder, None if best is None else self.best)
        judged = self.subject.judge.figures(found.outputs)
        assert record.simulated is not None
        assert record.simulated.noise is not None
        assert judged.noise is not None
        limit = _NOISE_FACTOR * record.simulated.noise + _NOISE_FLOOR
        if judged.noise > limit:
            raise TrialError(
                "wrong results: the artifact does not compute what was simulated",
                fact=f"noise share {judged.noise:.3g}, simulated {record.simulated.noise:.3g}",
            )
        figures = Figures(judged.noise, judged.drop, _latency(found, best))
        self._describe(replace(record, measured=figures), folder)
        # What is said of every edge takes its place, too.
        return replace(figures, size_bytes=folder_bytes(folder))

    def _built(self, assignment: Assignment, folder: Path, beside: Path | None) -> Verified:
        subject = self.subject
        module = realize(subject.numbers.model(assignment))
        future = self.runner.submit(
            verify,
            module,
            self.setting,
            subject.manifest,
            folder,
            subject.samples,
            subject.request.compressed,
            beside,
        )
        return future.result()

    def _describe(self, record: Record, folder: Path) -> None:
        """Writes what was measured, and why each edge is what it is, into the artifact."""
        assert record.measured is not None, record.trial
        subject, figures = self.subject, record.measured
        metric = subject.request.metric
        accuracy = {f"drop of {metric}": figures.drop, "noise share": figures.noise}
        manifest = replace(
            subject.manifest,
            precision=precision_name(record.precisions),
            edges=self._reports(record),
            accuracy={name: value for name, value in accuracy.items() if value is not None},
            latency_ms={} if figures.latency_ms is None else {"median": figures.latency_ms},
        )
        replace_manifest(folder, manifest)

    def _reports(self, record: Record) -> tuple[EdgeReport, ...]:
        """The edges with the search's own reason for the precisions of their groups."""
        space = self.subject.space
        model = self.subject.numbers.model(space.parse(record.precisions))
        why = {
            str(edge): f"search took {chosen}{self._why(number, record)}"
            for number, (group, chosen) in enumerate(
                zip(space.groups, record.precisions, strict=True)
            )
            for edge in group.edges
        }
        reports = edge_reports(model.graph, model)
        return tuple(
            replace(each, reason=f"{each.reason}; {why[each.edge]}") if each.edge in why else each
            for each in reports
        )

    def _why(self, number: int, record: Record) -> str:
        """What was known of a group when its precision was taken."""
        if record.proposer in (FIRST, LEVEL) or self.sensitivity is None:
            noise = record.known.noise or 0.0
            return f", all groups at once (noise share {noise:.2g})"
        names = [option.name for option in self.subject.space.groups[number].options]
        noises = zip(names, self.sensitivity.noise[number], strict=True)
        known = ", ".join(f"{name} {noise:.2g}" for name, noise in noises if noise)
        how = "" if number in self.sensitivity.measured else ", foretold"
        return f" (noise share of each alone{how}: {known})" if known else ""


def _latency(found: Verified, best: Record | None) -> float | None:
    """In ms: what the best is known to take times the ratio to it, where that was measured. A
    machine that is slower than it was, or has more to do, is so for both."""
    known = None if best is None or best.measured is None else best.measured.latency_ms
    if known is None or found.latency_ms is None or found.beside_ms is None:
        return found.latency_ms
    return known * found.latency_ms / found.beside_ms


def precision_name(names: Sequence[str]) -> str:
    """The name of the one precision, or "mixed"."""
    return names[0] if len(set(names)) == 1 else "mixed"
