"""Solvers against drawing at random: the same number of trials, the same measurements.

    python -m tests.zoo.solvers [MODEL] [--hw x86-avx2] [--data FOLDER] [--max-drop 0.001]
                                [--trials 40] [--seeds 3] [--cache DIR] [--json]

MODEL is ``digits`` (the default) or an image model of the zoo, for which FOLDER holds photos. A
trial is what a session does before it builds an artifact: its drop comes from the simulated
module, its latency is the sum of its sub-graphs, each measured once. Measurements are kept in
DIR: the same command again replays them, takes seconds, and prints the same numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hago.clock import Clock
from hago.demo import digits_calibration, digits_model
from hago.progress import SILENT
from hago.search.alone import measure_noise
from hago.search.cache import Cache
from hago.search.goal import Figures, Goal
from hago.search.latency import Bench, Latencies
from hago.search.problem import DropCurve, Problem, drop_curve
from hago.search.proposers import DEFAULT, propose
from hago.search.proposers.proposer import history_of
from hago.search.records import Record
from hago.search.request import Request
from hago.search.runner import LocalRunner, Runner
from hago.search.space import Assignment
from hago.search.subject import Subject, build_subject
from hago.search.work import Setting
from tests.zoo.models import model_file
from tests.zoo.tasks import TASKS

SOLVERS: Mapping[str, tuple[str, ...]] = {
    "random": ("random",),
    "milp": ("milp", "random"),
    "greedy": ("greedy", "random"),
    "annealing": ("annealing",),
    "evolution": ("evolution",),
    "all": DEFAULT,
}


@dataclass(frozen=True)
class Run:
    """The lowest latency in ms of what kept the bound, after each trial; None before the first."""

    solver: str
    seed: int
    best: tuple[float | None, ...]

    def reaches(self, latency: float | None) -> int | None:
        """The number of trials after which the best is no slower than ``latency``."""
        if latency is None:
            return None
        counted = enumerate(self.best, 1)
        return next((n for n, best in counted if best is not None and best <= latency), None)


@dataclass(frozen=True, eq=False)
class Contest:
    """What all solvers are given."""

    subject: Subject
    noise: tuple[tuple[float, ...], ...]
    runner: Runner
    cache: Cache

    def run(self, solver: str, seed: int, trials: int) -> Run:
        """One solver with one seed; it knows the latencies that its own trials asked for."""
        subject = self.subject
        failed = self.cache.scoped({"what": "failed"})
        bench = Bench(self.runner, Setting(subject.spec), self.cache, failed)
        latencies = Latencies(subject.numbers, subject.segments, bench)
        latencies.measure(subject.space.levels())
        records: list[Record] = []
        for _ in range(trials):
            problem = Problem(subject.space, subject.request.goal, self.noise, latencies.tables)
            found = propose(SOLVERS[solver], problem, history_of(problem, records), seed)
            if found is None:
                break
            latencies.measure([found[1]])
            records.append(self._record(records, found, problem, latencies))
        return Run(solver, seed, self._best(records, trials))

    def _record(
        self,
        records: Sequence[Record],
        found: tuple[str, Assignment],
        problem: Problem,
        latencies: Latencies,
    ) -> Record:
        subject, (proposer, assignment) = self.subject, found
        outputs = subject.simulate(assignment, subject.samples)
        curve = drop_curve(problem, records) if records else DropCurve()
        judged = subject.judge.figures(outputs)
        measured = sum(table.of(assignment) for table in latencies.tables)
        return Record(
            len(records),
            proposer,
            tuple(subject.space.names(assignment)),
            problem.predict(assignment, curve),
            Figures(judged.noise, judged.drop, measured),
        )

    def _best(self, records: Sequence[Record], trials: int) -> tuple[float | None, ...]:
        found: list[float | None] = []
        for record in records:
            kept = not self.subject.request.goal.violation(record.known)
            values = [*found[-1:], record.known.latency_ms if kept else None]
            found.append(min((v for v in values if v is not None), default=None))
        return (*found, *found[-1:] * (trials - len(found)))


def contest_of(request: Request, runner: Runner, cache: Cache) -> Contest:
    """The contest about ``request``. Raises a HagoError for what cannot be searched."""
    subject = build_subject(request, Clock(SILENT), lambda identity: None)
    noise = measure_noise(
        subject.space,
        lambda assignment: subject.simulate(assignment, subject.samples),
        subject.judge.reference.outputs,
    )
    return Contest(subject, noise, runner, cache.scoped(subject.latency_key))


def compare(
    contest: Contest, seeds: int, trials: int, solvers: Sequence[str] = tuple(SOLVERS)
) -> list[Run]:
    """Every solver with every seed."""
    return [contest.run(solver, seed, trials) for solver in solvers for seed in range(seeds)]


def summary(runs: Sequence[Run], trials: int) -> dict[str, dict[str, object]]:
    """By solver: the best latency of each seed, and the trials to reach random's of that seed."""
    goals = {run.seed: run.best[-1] for run in runs if run.solver == "random"}
    return {
        solver: {
            "best_ms": [run.best[-1] for run in runs if run.solver == solver],
            "trials_to_reach_random": [
                run.reaches(goals[run.seed]) for run in runs if run.solver == solver
            ],
            "trials": trials,
        }
        for solver in dict.fromkeys(run.solver for run in runs)
    }


def request_for(model: str, hardware: str, data: Path | None, max_drop: float) -> Request:
    """Latency under a bound on the noise of the outputs: it has no steps, as top-1 has."""
    goal = Goal("latency", max_drop=max_drop)
    if model == "digits":
        return Request(digits_model(), hardware, digits_calibration(), goal, metric="sqnr")
    assert data is not None, "an image model needs --data"
    samples = TASKS[model].calibration(data).samples()
    return Request(model_file(model), hardware, samples, goal, metric="sqnr", samples=8)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.solvers", description=__doc__)
    parser.add_argument("model", nargs="?", default="digits")
    parser.add_argument("--hw", default="x86-avx2")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--max-drop", type=float, default=1e-3)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    runner = LocalRunner()
    try:
        request = request_for(given.model, given.hw, given.data, given.max_drop)
        with tempfile.TemporaryDirectory(prefix="hago-zoo-") as scratch:
            contest = contest_of(request, runner, Cache(given.cache or Path(scratch)))
            runs = compare(contest, given.seeds, given.trials)
    finally:
        runner.close()
    if given.json:
        print(json.dumps([asdict(run) for run in runs]))
    else:
        _print(summary(runs, given.trials))
    return 0


def _print(found: Mapping[str, Mapping[str, object]]) -> None:
    table = Table("solver", "best ms by seed", "mean", "trials to random's best by seed")
    for solver, row in found.items():
        best = row["best_ms"]
        assert isinstance(best, list)
        known = [value for value in best if value is not None]
        shown = " ".join("-" if value is None else f"{value:.4f}" for value in best)
        mean = f"{np.mean(known):.4f}" if len(known) == len(best) else "-"
        table.add_row(solver, shown, mean, str(row["trials_to_reach_random"]))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
