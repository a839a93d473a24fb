"""The kernels of a network raced one after another, those that take most of its time first."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hago.hardware.spec import HardwareSpec
from hago.kernel_search.race import race_schedules
from hago.lower.calls import KernelCall
from hago.lower.cost import describe
from hago.lower.select import schedules
from hago.progress import Progress
from hago.report import KernelReport
from hago.search.runner import Runner, TrialError
from hago.search.winners import Winner, Winners, kernel_key


@dataclass(frozen=True, eq=False)
class Races:
    """Where kernels for ``spec`` are raced, and where the winners are kept."""

    spec: HardwareSpec
    winners: Winners
    runner: Runner
    threads: int = 1

    def run(self, call: KernelCall) -> Winner:
        """The winner for the kernel of ``call``; it is kept at once. Raises TrialError."""
        future = self.runner.submit(
            race_schedules, call.workload, call.epilogue, self.spec, self.threads
        )
        winner = future.result()
        self.winners.keep(call.workload, call.epilogue, winner)
        return winner


@dataclass(frozen=True)
class Contest:
    """Kernels that are the same but for their numbers: ``call`` is one of them, all of them take
    ``share`` of the kernels' time in ``calls`` calls."""

    call: KernelCall
    calls: int
    share: float


def tune_kernels(
    contests: Sequence[Contest],
    races: Races,
    budget_s: float,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[KernelReport, ...]:
    """What was found for ``contests`` within the budget, or before somebody interrupted.

    What the cache knows already is not measured again. A kernel whose race fails stays as it is.
    """
    found: list[KernelReport] = []
    end = clock() + budget_s
    try:
        for contest in progress.track(contests, "race kernels", len(contests)):
            known = races.winners.find(contest.call.workload, contest.call.epilogue)
            if known is not None:
                found.append(_report(contest, known, is_from_cache=True))
            elif clock() < end:
                found.append(_raced(contest, races))
    except KeyboardInterrupt:
        pass  # what was learned is kept, and built
    return tuple(found)


def _raced(contest: Contest, races: Races) -> KernelReport:
    try:
        return _report(contest, races.run(contest.call), is_from_cache=False)
    except TrialError as error:
        kernel = describe(contest.call.workload)
        return KernelReport(kernel, contest.calls, contest.share, error=str(error))


def contests_of(
    calls: Iterable[KernelCall], milliseconds: Mapping[str, float], winners: Winners
) -> tuple[Contest, ...]:
    """The contests of a network whose kernels take ``milliseconds`` by function, those of the
    largest share first."""
    known = [call for call in calls if call.function in milliseconds]
    total = sum(milliseconds[call.function] for call in known) or 1.0
    shares: dict[str, float] = defaultdict(float)
    numbers: Counter[str] = Counter()
    first: dict[str, KernelCall] = {}
    for call in known:
        if len(schedules(call.workload, winners.machine)) > 1:
            key = str(kernel_key(call.workload, call.epilogue, winners.machine))
            first.setdefault(key, call)
            numbers[key] += 1
            shares[key] += milliseconds[call.function] / total
    ranked = sorted(first, key=lambda key: -shares[key])
    return tuple(Contest(first[key], numbers[key], shares[key]) for key in ranked)


def _report(contest: Contest, winner: Winner, is_from_cache: bool) -> KernelReport:
    return KernelReport(
        kernel=describe(contest.call.workload),
        calls=contest.calls,
        share=contest.share,
        default_us=winner.default_us,
        best_us=winner.best_us,
        schedule=winner.schedule,
        is_from_cache=is_from_cache,
    )
