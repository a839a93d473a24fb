"""Who is faster is decided round by round, and only by more than the rounds spread."""

import numpy as np
import pytest

from hago.kernel_search.turns import Rounds, take_turns


class Bench:
    """A clock that only calls move on."""

    def __init__(self):
        self.now = 0.0

    def clock(self):
        return self.now

    def call(self, seconds):
        def run():
            self.now += seconds

        return run


def test_a_ratio_is_that_of_neighbours_in_time():
    bench = Bench()
    rounds = take_turns([bench.call(2.0), bench.call(1.0)], 5, bench.clock)
    assert rounds.ratio(1) == 0.5
    assert rounds.is_faster(1)
    assert rounds.microseconds(0) == 2e6


def test_a_clock_that_is_set_right_now_and_then_makes_no_call_free():
    bench = Bench()
    calls = 0

    def clock():
        nonlocal calls
        calls += 1
        return bench.now - (2e-6 if calls % 100 == 0 else 0)

    rounds = take_turns([bench.call(1e-6), bench.call(2e-6)], 5, clock)
    assert rounds.ratio(1) == pytest.approx(2)
    assert rounds.seconds == pytest.approx(np.tile([1e-6, 2e-6], (5, 1)))


def test_calls_shorter_than_a_tick_have_the_mean_of_their_turn():
    bench, tick = Bench(), 1e-4
    rounds = take_turns(
        [bench.call(1e-6), bench.call(2e-6)], 5, lambda: bench.now // tick * tick
    )
    assert rounds.ratio(1) == pytest.approx(2, rel=0.2)


def test_a_machine_that_slows_down_for_everybody_changes_no_ratio():
    slow = np.array([1.0, 1.0, 3.0, 3.0])
    rounds = Rounds(np.stack([slow * 2.0, slow * 1.9], axis=1))
    assert np.allclose(rounds.ratios(1), 0.95)
    assert rounds.is_faster(1)


def test_a_median_below_one_is_no_win_where_rounds_spread_more():
    rounds = Rounds(np.stack([np.ones(5), np.array([0.8, 0.9, 0.95, 1.1, 1.2])], axis=1))
    assert rounds.ratio(1) < 1
    assert not rounds.is_faster(1)
    assert not rounds.is_slower(1)


def test_slower_in_three_rounds_of_four_is_slower():
    rounds = Rounds(np.stack([np.ones(4), np.array([1.1, 1.2, 1.1, 1.05])], axis=1))
    assert rounds.is_slower(1)
