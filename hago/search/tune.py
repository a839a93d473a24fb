"""The search itself: from a request to the best artifact that the budget allows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hago.clock import Clock
from hago.deploy.artifact import library_of
from hago.deploy.manifest import read_manifest
from hago.errors import BuildError
from hago.hardware.host import kernels_of
from hago.lower.lower import Compact, by_template
from hago.lower.select import machine_of
from hago.progress import SILENT, Progress
from hago.search.cache import Cache, default_cache
from hago.search.cluster import simulating_on
from hago.search.evaluate import Table
from hago.search.findings import problem_of
from hago.search.laboratory import FIRST, LEVEL, Laboratory
from hago.search.latency import Bench, Latencies
from hago.search.outcome import Outcome, Stop
from hago.search.proposers import propose
from hago.search.proposers.proposer import history_of
from hago.search.records import Record, best_record, fitting
from hago.search.request import Effort, Request
from hago.search.rpc_runner import RpcRunner
from hago.search.runner import LocalRunner, Runner
from hago.search.sensitivity import Sensitivity, find_sensitivity
from hago.search.session import Session, open_session
from hago.search.space import Assignment
from hago.search.subject import BuildSimulation, Subject, build_subject
from hago.search.winners import Winners, open_winners
from hago.search.work import Setting

_ALONE = 8  # samples on which groups are lowered one by one: those that most noise falls on

Watch = Callable[[Outcome], None]


def tune(
    request: Request,
    session: Path,
    effort: Effort | None = None,
    progress: Progress = SILENT,
    watch: Watch = lambda outcome: None,
    runner: Runner | None = None,
) -> Outcome:
    """Searches in the folder ``session`` (new, or as it was left) until the budget is spent.

    ``watch`` sees the outcome so far after each trial. ``runner`` is where trials run: the devices
    of the request's tracker, or a process of their own. KeyboardInterrupt ends the search in order.
    Raises a HagoError for what cannot be searched, and for a session that is in use, damaged, or
    about something else.
    """
    effort, clock, start = effort or Effort(), Clock(progress), time.monotonic()
    with (
        open_session(session) as opened,
        _running(runner, request, effort) as worker,
        _simulating(request, effort) as simulation,
    ):
        if request.goal.needs_latency:
            _latency_cache(request).check()
        subject = build_subject(request, clock, partial(opened.check, anew=effort.anew), simulation)
        winners = _winners(subject, opened)
        return _Search(subject, effort, opened, worker, winners, clock, watch, start).run()


@contextmanager
def _running(runner: Runner | None, request: Request, effort: Effort) -> Iterator[Runner]:
    own = runner or _runner(request, effort)
    try:
        yield own
    finally:
        own.close()


@contextmanager
def _simulating(request: Request, effort: Effort) -> Iterator[BuildSimulation | None]:
    if request.cluster is None:
        yield None
        return
    with simulating_on(request.cluster, effort.trial_limit_s) as build:
        yield build


def _runner(request: Request, effort: Effort) -> Runner:
    if request.tracker is not None:
        return RpcRunner(request.tracker, effort.trial_limit_s)
    return LocalRunner(effort.trial_limit_s, request.threads)


def _latency_cache(request: Request) -> Cache:
    return Cache(request.cache or default_cache())


def _winners(subject: Subject, session: Session) -> Winners | None:
    """The schedules that the session's kernels take; None where their templates choose."""
    request = subject.request
    # What was raced here says nothing of the devices of a tracker.
    if request.kernel_cache is None or request.tracker is not None or not subject.is_timed:
        return None
    kernels = kernels_of(subject.spec)
    known = open_winners(Cache(request.kernel_cache), kernels, request.threads)
    return None if known is None else session.kernels(known)


@dataclass(eq=False)
class _Search:
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
    sensitivity: Sensitivity = field(init=False)

    def run(self) -> Outcome:
        names = [[option.name for option in group.options] for group in self.subject.space.groups]
        log = fitting(self.session.records(), names)
        self.records, self.damaged = list(log.records), log.damaged
        zeros = tuple((0.0,) * len(group.options) for group in self.subject.space.groups)
        self.laboratory = self._laboratory(zeros, None)
        try:
            stopped = self._search()
        except KeyboardInterrupt:
            stopped = "interrupted"
        latencies = self.laboratory.latencies
        if latencies is None:
            return self._outcome(stopped)
        self._write_problem()  # with what failed since
        return replace(self._outcome(stopped), cost_model=latencies.error())

    def _search(self) -> Stop:
        if not self.records:
            self._try(FIRST, self.subject.space.floats)
        self._learn()
        self._repair_best()
        while True:
            if self._is_over():
                return "budget"
            if self.effort.trials is not None and len(self.records) >= self.effort.trials:
                return "trials"
            proposal = self._next()
            if proposal is None:
                return "nothing left"
            self._try(*proposal)

    def _learn(self) -> None:
        """Sensitivities, and latencies of the levels: what proposers start from."""
        subject, request = self.subject, self.subject.request
        own = Cache(self.session.folder / "cache")
        scope = {**subject.identity, "what": "alone", "of": f"the hardest {_ALONE}"}
        self.sensitivity = find_sensitivity(
            subject, _ALONE, own.scoped(scope), self.clock.progress
        )
        noise = self.sensitivity.noise
        latencies = None
        if subject.is_timed and request.goal.needs_latency:
            cache = _latency_cache(request).scoped(self._latency_key)
            failed = own.scoped({**self._latency_key, "what": "failed"})
            bench = Bench(self.runner, self._setting, cache, failed)
            latencies = Latencies(subject.numbers, subject.segments, bench)
        self.laboratory = self._laboratory(noise, latencies)
        if latencies is not None:
            timed = [subject.space.parse(r.precisions) for r in self.records if r.is_timed]
            asked = [*subject.space.levels(), *timed]
            latencies.measure(asked, self.clock.progress, self._is_over)
        self._write_problem()

    def _laboratory(self, noise: Table, latencies: Latencies | None) -> Laboratory:
        best = self.session.best
        return Laboratory(self.subject, self.runner, self._setting, noise, latencies, best)

    @property
    def _setting(self) -> Setting:
        spec, request = self.subject.spec, self.subject.request
        choose = by_template if self.winners is None else self.winners.choose
        if request.goal.needs_size:
            choose = Compact(choose, machine_of(spec))
        return Setting(spec, request.threads, choose)

    @property
    def _latency_key(self) -> dict[str, str]:
        """What latencies depend on, beside the sub-graph: with it, how kernels are cut."""
        known = "" if self.winners is None else self.winners.digest
        key = {**self.subject.latency_key, **({"kernels": known} if known else {})}
        return {**key, "weights": "as they are"} if self.subject.request.goal.needs_size else key

    def _next(self) -> tuple[str, Assignment] | None:
        problem = self.laboratory.problem(self.records)
        history = history_of(problem, self.records)
        for level in self.subject.space.levels():
            if history.find(level) is None:
                return LEVEL, level
        return propose(self.effort.proposers, problem, history, self.effort.seed)

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
        subject = self.subject
        return Outcome(
            session=self.session.folder,
            model=subject.request.model.name,
            hardware=subject.spec.name,
            goal=subject.request.goal,
            groups=len(subject.space.groups),
            strategies=subject.space.size,
            records=tuple(self.records),
            best=best_record(self.records, subject.request.goal),
            artifact=self.session.best,
            stopped=stopped,
            seconds=self._spent(),
            damaged_lines=self.damaged,
        )

    def _write_problem(self) -> None:
        """What a report needs to know beside the records."""
        latencies = self.laboratory.latencies
        failures = {} if latencies is None else latencies.failures
        self.session.write_problem(problem_of(self.subject, self.sensitivity, failures))
