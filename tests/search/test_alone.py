"""Groups are lowered one at a time, as long as there is time; the others share what is left."""

from __future__ import annotations

import numpy as np
import pytest

from hago.search.alone import Pace, measure_alone, measure_noise, share_out
from hago.search.cache import Cache
from hago.search.goal import Goal
from hago.search.metrics import LARGEST_NOISE
from hago.search.problem import Problem, Table, by_gain
from hago.search.space import Space
from tests.search.problems import space_of

ONES = [{"y": np.ones(4)}]


class Calls(list):
    """Runs an assignment, and notes it."""

    def __call__(self, assignment):
        self.append(assignment)
        return [{"y": np.ones(4) + 0.1 * sum(assignment)}]


def test_each_group_is_lowered_alone_and_found_again_in_the_cache(tmp_path):
    space, run, pace = space_of(2, 3), Calls(), Pace(cache=Cache(tmp_path))
    noise = measure_noise(space, run, ONES, pace)
    assert run == [(1, 0), (0, 1), (0, 2)]
    assert noise == (pytest.approx((0, 0.01)), pytest.approx((0, 0.01, 0.04)))
    assert measure_noise(space, run, ONES, pace) == noise
    assert len(run) == 3


def test_an_option_whose_outputs_are_not_finite_is_as_noisy_as_can_be():
    noise = measure_noise(space_of(2), lambda assignment: [{"y": np.full(4, np.nan)}], ONES)
    assert noise == ((0.0, LARGEST_NOISE),)


def rise(outputs):
    return float(outputs[0]["y"].mean()) - 1


def test_the_first_groups_of_an_order_are_lowered_until_time_is_over(tmp_path):
    space, run, cache = space_of(2, 3, 2), Calls(), Cache(tmp_path)
    pace = Pace((1, 2, 0), lambda: len(run) >= 3, cache)
    found = measure_alone(space, run, {"rise": rise}, pace)["rise"]
    assert run == [(0, 1, 0), (0, 2, 0), (0, 0, 1)]
    assert found == {1: pytest.approx((0, 0.1, 0.2)), 2: pytest.approx((0, 0.1))}
    # What is known already takes no time.
    pace = Pace((0, 1, 2), lambda: True, cache)
    assert measure_alone(space, run, {"rise": rise}, pace)["rise"].keys() == {1, 2}
    assert len(run) == 3


def test_a_group_of_which_not_all_options_were_lowered_in_time_was_not_measured():
    run = Calls()
    pace = Pace(is_over=lambda: len(run) >= 1)
    assert measure_alone(space_of(3, 2), run, {"rise": rise}, pace)["rise"] == {}


@pytest.mark.parametrize(("goal", "order"), [("latency", [1, 2, 0]), ("size", [2, 0, 1])])
def test_the_groups_that_cost_most_in_float32_come_first(goal, order):
    one, two, three = (space_of(2, weights=count).groups[0] for count in (20, 10, 30))
    space = Space((one, two, three))
    silent = ((0.0, 0.0),) * 3
    tables = tuple(
        Table((group,), {(0,): floats, (1,): 1.0}) for group, floats in enumerate((2.0, 4.0, 3.0))
    )
    problem = Problem(space, Goal(goal, max_drop=0.1), silent, tables)
    assert by_gain(problem) == order


def noise_of(assignment):
    return 0.5 * sum(option**2 for option in assignment)


def test_groups_that_were_not_measured_share_what_they_make_together():
    space, known = space_of(2, 3, 2), {1: (0.0, 7.0, 8.0)}
    found = share_out(space, known, noise_of, None)
    assert found == ((0.0, 0.5), (0.0, 7.0, 8.0), (0.0, 0.5))
    likely = ((0.0, 3.0), (0.0, 9.0, 9.0), (0.0, 1.0))
    first, measured, last = share_out(space, known, noise_of, likely)
    assert measured == known[1]
    # Half of 0.5 + 0.5 evenly, half as 3 to 1.
    assert (first, last) == (pytest.approx((0, 0.625)), pytest.approx((0, 0.375)))


def test_each_option_takes_its_share_where_all_groups_have_it():
    (first, second) = share_out(space_of(3, 2), {}, noise_of, None)
    assert first == pytest.approx((0, 0.5, (0.5 * 4 + 0.5) / 2))
    assert second == pytest.approx((0, 0.5))


def test_where_all_groups_were_measured_nothing_is_shared():
    def never(assignment):
        raise AssertionError(assignment)

    known = {0: (0.0, 1.0), 1: (0.0, 2.0)}
    assert share_out(space_of(2, 2), known, never, None) == ((0.0, 1.0), (0.0, 2.0))
