"""One run of a session: single precisions first, then what they are made of, then proposals.

    float32, and each precision for all groups   best/ is there before the long work
    latencies of sub-graphs                      of these precisions; later ones as they are tried
    sensitivities                                in half of the time that is left at most
    proposals, until the budget is spent         each with its artifact, where it promises
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hago.clock import Clock
from hago.deploy.artifact import library_of
from hago.deploy.manifest import read_manifest
from hago.errors import BuildError
from hago.search.alone import Pace
from hago.search.benches import find_latencies, own_cache, setting_of
from hago.search.findings import problem_of
from hago.search.laboratory import FIRST, LEVEL, Laboratory
from hago.search.metrics import doubt_of, step_of
from hago.search.outcome import Outcome, Stop
from hago.search.problem import Problem, by_gain
from hago.search.proposers import propose
from hago.search.proposers.proposer import history_of
from hago.search.records import Record, best_record, fitting
from hago.search.request import Effort
from hago.search.runner import Runner
from hago.search.sensitivity import Sensitivity, find_sensitivity, sensitivity_of
from hago.search.session import Session
from hago.search.space import Assignment
from hago.search.subject import Subject
from hago.search.winners import Winners

_ALONE = 8  # samples on which groups are lowered one by one
_SHARE = 0.5  # of the time that is left: sensitivities may take it, trials have the rest

Watch = Callable[[Outcome], None]
Proposal = tuple[str, Assignment]


@dataclass(eq=False)
class Course:
    """One run of a session: the records so far, and when it has to end.

    ``last`` is when the latest trial ended, or this run began: what lies between belongs to the
    next one.
    """

    subject: Subject
    effort: Effort
    session: Session
    runner: Runner
    winners: Winners | None
    clock: Clock
    watch: Watch
    last: float
    records: list[Record] = field(default_factory=list)
    damaged: int = 0
    laboratory: Laboratory = field(init=False)

    def __post_init__(self) -> None:
        names = [[option.name for option in group.options] for group in self.subject.space.groups]
        log = fitting(self.session.records(), names)
        self.records, self.damaged = list(log.records), log.damaged
        known, _ = self._known_sensitivity()
        setting = setting_of(self.subject, self.winners)
        best = self.session.best
        self.laboratory = Laboratory(self.subject, self.runner, setting, known, None, best)

    def run(self) -> Outcome:
        """Raises a HagoError for what is no trial's fault: a full disk, a metric that fails."""
        self._write_problem()
        try:
            stopped = self._search()
        except KeyboardInterrupt:
            stopped = "interrupted"
        self._write_problem()  # with what failed since
        latencies = self.laboratory.latencies
        error = None if latencies is None else latencies.error()
        return replace(self._outcome(stopped), cost_model=error)

    def _search(self) -> Stop:
        self._repair_best()
        stopped = self._try_each(self._next_level)
        if self._next_level() is not None:
            return stopped
        self._learn()
        return self._try_each(self._next)

    def _try_each(self, following: Callable[[], Proposal | None]) -> Stop:
        """Trials of what ``following`` gives, until it gives nothing or they have to end."""
        while True:
            if self.records and self._is_over():
                return "budget"
            if self.effort.trials is not None and len(self.records) >= self.effort.trials:
                return "trials"
            proposal = following()
            if proposal is None:
                return "nothing left"
            self._try(*proposal)

    def _next_level(self) -> Proposal | None:
        """A precision that all groups were not tried in together."""
        tried = {record.precisions for record in self.records}
        for level in self.subject.space.levels():
            if tuple(self.subject.space.names(level)) not in tried:
                return LEVEL if self.records else FIRST, level
        return None

    def _next(self) -> Proposal | None:
        problem = self._problem()
        history = history_of(problem, self.records)
        return propose(self.effort.proposers, problem, history, self.effort.seed)

    def _problem(self) -> Problem:
        return self.laboratory.problem(self.records)

    def _learn(self) -> None:
        """Latencies of the levels, and sensitivities: what proposers start from."""
        latencies = find_latencies(self.subject, self.runner, self.winners, self.session.folder)
        self.laboratory = replace(self.laboratory, latencies=latencies)
        if latencies is not None:
            space = self.subject.space
            timed = [space.parse(r.precisions) for r in self.records if r.is_timed]
            latencies.measure([*space.levels(), *timed], self.clock.progress, self._is_over)
        known, budget_s = self._known_sensitivity()
        is_whole = known is not None and len(known.measured) == len(self.subject.space.groups)
        if not is_whole and self.effort.budget_s > budget_s and not self._is_over():
            self.laboratory = replace(self.laboratory, sensitivity=self._find_sensitivity())
        self._write_problem()

    def _find_sensitivity(self) -> Sensitivity:
        """Those of the groups that promise most come first; the time ends it, and what it left is
        what this session goes on with, however often it is resumed: until it may take longer."""
        limit = time.monotonic() + _SHARE * (self.effort.budget_s - self._spent())
        scope = {**self.subject.identity, "what": "alone", "of": f"{_ALONE} samples for all"}
        pace = Pace(
            by_gain(self._problem()),
            lambda: time.monotonic() >= limit,
            own_cache(self.session.folder).scoped(scope),
            self.clock.progress,
        )
        found = find_sensitivity(self.subject, _ALONE, pace)
        self.session.write_sensitivity({"budget_s": self.effort.budget_s, "found": asdict(found)})
        return found

    def _known_sensitivity(self) -> tuple[Sensitivity | None, float]:
        """What an earlier run found, and the budget in seconds that it had."""
        written: Mapping[str, Any] = self.session.sensitivity()
        try:
            found, budget_s = sensitivity_of(written["found"]), float(written["budget_s"])
        except (KeyError, TypeError, ValueError):
            return None, 0.0
        return (found, budget_s) if found.fits(self.subject.space) else (None, 0.0)

    def _try(self, proposer: str, assignment: Assignment) -> None:
        """One trial: its artifact is kept before its record says that it is there."""
        candidate = self.session.candidate
        shutil.rmtree(candidate, ignore_errors=True)
        record = self.laboratory.attempt(proposer, assignment, self.records, candidate)
        now = time.monotonic()
        record = replace(record, seconds=now - self.last)
        if best_record([*self.records, record], self.subject.request.goal) is record:
            self.session.keep(candidate, record)
        self.session.append(record)
        self.records.append(record)
        self.last = now
        self.watch(self._outcome("budget"))

    def _repair_best(self) -> None:
        """Builds the best artifact anew, should a kill have come between it and its record."""
        best = best_record(self.records, self.subject.request.goal)
        if best is None or (self.session.kept_trial() == best.trial and self._is_whole()):
            return
        with self.clock.stage("rebuild the best artifact"):
            shutil.rmtree(self.session.candidate, ignore_errors=True)
            self.laboratory.rebuild(best, self.session.candidate)
            self.session.keep(self.session.candidate, best)

    def _is_whole(self) -> bool:
        try:
            read_manifest(self.session.best)
        except BuildError:
            return False
        return library_of(self.session.best).is_file()

    def _is_over(self) -> bool:
        return self._spent() >= self.effort.budget_s

    def _spent(self) -> float:
        """Seconds of all runs of the session."""
        return sum(record.seconds for record in self.records) + time.monotonic() - self.last

    def _outcome(self, stopped: Stop) -> Outcome:
        subject, best = self.subject, best_record(self.records, self.subject.request.goal)
        metric = subject.request.metric
        step = step_of(metric, subject.judge.reference)
        return Outcome(
            session=self.session.folder,
            model=subject.request.model.name,
            hardware=subject.spec.name,
            goal=subject.request.goal,
            groups=len(subject.space.groups),
            strategies=subject.space.size,
            records=tuple(self.records),
            best=best,
            artifact=self.session.best,
            stopped=stopped,
            seconds=self._spent(),
            damaged_lines=self.damaged,
            sensitivities=self.laboratory.sensitivities,
            step=step,
            doubt=None if best is None else doubt_of(metric, best.known.drop, step),
        )

    def _write_problem(self) -> None:
        """What a report needs to know beside the records."""
        latencies = self.laboratory.latencies
        failures = {} if latencies is None else latencies.failures
        known = self.laboratory.sensitivity
        self.session.write_problem(problem_of(self.subject, known, failures))
