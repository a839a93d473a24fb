"""Kernels are raced within a budget, those that take most time first; what is learned is kept."""

from concurrent.futures import Future

import pytest

from hago.kernel_search.search import Races, contests_of, tune_kernels
from hago.lower.calls import KernelCall
from hago.lower.select import schedules
from hago.progress import SILENT
from hago.search.cache import Cache
from hago.search.runner import TrialError
from hago.search.winners import Winner, open_winners
from tests.kernel_search.works import SPEC, product

SIZES = (4, 5, 6)


class Stopwatch:
    """Races take ``seconds``; the last schedule wins in half of the time of the first."""

    slots = 1

    def __init__(self, seconds=1.0, fails=(), stops=()):
        self.now, self.seconds, self.fails, self.stops = 0.0, seconds, fails, stops
        self.raced = []

    def clock(self):
        return self.now

    def submit(self, call, workload, epilogue, spec, threads):
        self.now += self.seconds
        self.raced.append(workload.m)
        if workload.m in self.stops:
            raise KeyboardInterrupt
        result = Future()
        if workload.m in self.fails:
            result.set_exception(TrialError("race_schedules: hung"))
        else:
            offered = schedules(workload, open_winners(Cache("."), spec, threads).machine)
            result.set_result(Winner(str(offered[-1]), 10.0, 5.0))
        return result

    def close(self):
        """Nothing is running."""


@pytest.fixture
def winners(tmp_path):
    return open_winners(Cache(tmp_path), SPEC, 1)


def call_of(m, scale=0.5):
    return KernelCall(f"matmul_{m}_{scale}", frozenset(), (), *product(m=m, scale=scale))


def tuned(winners, watch, budget=10.0, sizes=SIZES):
    calls = [call_of(m) for m in sizes]
    times = {call.function: 1.0 for call in calls}
    contests = contests_of(calls, times, winners)
    races = Races(SPEC, winners, watch, 1)
    return tune_kernels(contests, races, budget, SILENT, watch.clock)


def test_the_kernels_that_take_most_of_the_time_are_first_with_all_that_are_the_same(winners):
    calls = [call_of(4), call_of(5), call_of(5, scale=0.25), call_of(6)]
    times = {calls[0].function: 3.0, calls[1].function: 2.0, calls[2].function: 2.0,
             calls[3].function: 1.0}  # fmt: skip
    contests = contests_of(calls, times, winners)
    assert [contest.call.workload.m for contest in contests] == [5, 4, 6]
    assert [contest.calls for contest in contests] == [2, 1, 1]
    assert contests[0].share == 0.5


def test_every_kernel_is_raced_and_its_winner_is_built_from_then_on(winners):
    watch = Stopwatch()
    reports = tuned(winners, watch)
    assert watch.raced == list(SIZES)
    assert [report.best_us for report in reports] == [5.0] * 3
    for m in SIZES:
        assert winners.choose(*product(m=m)) == schedules(product(m=m)[0], winners.machine)[-1]


def test_no_race_begins_when_the_budget_is_spent(winners):
    watch = Stopwatch(seconds=4.0)
    assert len(tuned(winners, watch, budget=7.0)) == 2
    assert watch.raced == [4, 5]


def test_what_is_known_is_not_raced_again(winners):
    tuned(winners, Stopwatch(), sizes=(4,))
    watch = Stopwatch()
    reports = tuned(winners, watch, budget=0.0)
    assert watch.raced == []
    assert [report.is_from_cache for report in reports] == [True]


def test_a_race_that_fails_leaves_its_kernel_as_it_is(winners):
    reports = tuned(winners, Stopwatch(fails=(4,)))
    assert [report.error for report in reports] == ["race_schedules: hung", "", ""]
    assert winners.find(*product(m=4)) is None


def test_an_interruption_keeps_what_was_learned(winners):
    reports = tuned(winners, Stopwatch(stops=(5,)))
    assert len(reports) == 1
    assert winners.choose(*product(m=4)) is not None
