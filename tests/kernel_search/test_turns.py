"""Who is faster is decided round by round, and only by more than the rounds spread."""

import numpy as np

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
