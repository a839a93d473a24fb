"""Statistics of latencies, and turns."""

from __future__ import annotations

import itertools

import pytest

from tests.bench.timing import spread, take_turns


def test_a_spread_is_in_milliseconds_and_has_the_quartiles() -> None:
    found = spread([0.005, 0.001, 0.003, 0.002, 0.004])
    assert (found.median_ms, found.q25_ms, found.q75_ms) == pytest.approx((3, 2, 4))
    assert (found.min_ms, found.runs, found.iqr_ms) == pytest.approx((1, 5, 2))


def test_no_measurement_has_no_spread() -> None:
    with pytest.raises(ValueError, match="no calls"):
        spread([])


class _Clock:
    """Time that passes only while a call runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def call(self, name: str, seconds: float) -> None:
        self.order.append(name)
        self.now += seconds


def test_calls_take_turns_and_each_gets_its_own_times() -> None:
    clock = _Clock()
    calls = [lambda: clock.call("slow", 0.1), lambda: clock.call("fast", 0.02)]
    slow, fast = take_turns(calls, seconds=0.5, clock=clock)
    assert (slow.median_ms, fast.median_ms) == pytest.approx((100, 20))
    turns = [name for name, _ in itertools.groupby(clock.order)]
    assert turns[:4] == ["slow", "fast", "slow", "fast"]


def test_everybody_is_measured_for_the_time_that_was_asked_for() -> None:
    clock = _Clock()
    calls = [lambda: clock.call("slow", 0.1), lambda: clock.call("fast", 0.02)]
    slow, fast = take_turns(calls, seconds=3.0, clock=clock)
    assert slow.runs * 0.1 >= 3.0
    assert fast.runs * 0.02 >= 3.0


def test_the_first_call_of_a_turn_is_not_recorded() -> None:
    clock = _Clock()
    costs = itertools.cycle([1.0, 0.06])
    (found,) = take_turns([lambda: clock.call("only", next(costs))], seconds=0.1, clock=clock)
    assert found.median_ms == pytest.approx(60)
