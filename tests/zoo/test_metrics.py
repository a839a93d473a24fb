"""The measures of the zoo, on numbers small enough to check by hand."""

import numpy as np
import pytest

from tests.zoo.metrics import (
    character_accuracy,
    edit_distance,
    expected_agreement,
    line_accuracy,
    mean_cosine,
    nearest_neighbour_agreement,
    top1_agreement,
)


def test_top1_agreement_is_the_share_of_rows_with_the_same_winner():
    exact = np.array([[1.0, 2.0], [3.0, 0.0]])
    assert top1_agreement(exact, np.array([[0.0, 9.0], [1.0, 2.0]])) == 0.5


def test_errors_of_all_margins_tell_how_likely_each_row_is_to_change():
    # Margins 1, 2 and 8; their errors are -1.5, 0 and 0.5, and -1.5 takes the first alone.
    exact = np.array([[1.0, 0.0, -9.0], [0.0, 2.0, 0.0], [8.0, 0.0, -1.0]])
    actual = np.array([[1.0, 0.0, 5.0], [0.0, 2.5, 0.0], [6.0, -0.5, -1.0]])
    assert expected_agreement(exact, actual) == pytest.approx([2 / 3, 1, 1])
    assert expected_agreement(exact, exact).tolist() == [1, 1, 1]


def test_margins_and_errors_that_are_independent_agree_as_often_as_expected():
    random = np.random.default_rng(0)
    exact = random.normal(size=(4000, 5))
    actual = exact + 0.1 * random.normal(size=exact.shape)
    # Of 4000 rows about a tenth change: three standard deviations of that share are 1.4 points.
    assert expected_agreement(exact, actual).mean() == pytest.approx(
        top1_agreement(exact, actual), abs=0.014
    )


def test_the_cosine_does_not_see_lengths():
    exact = np.array([[1.0, 0.0], [0.0, 2.0]])
    # The second pair has an angle of 45 degrees.
    assert mean_cosine(exact, np.array([[5.0, 0.0], [1.0, 1.0]])) == pytest.approx(
        (1 + 0.5**0.5) / 2
    )


def test_a_row_is_not_its_own_neighbour():
    exact = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    assert nearest_neighbour_agreement(exact, exact) == 1.0
    moved = exact.copy()
    moved[1] = [0.6, 0.8]  # nearest to the fourth now; it is still the first's nearest
    assert nearest_neighbour_agreement(exact, moved) == 0.75


@pytest.mark.parametrize(
    ("left", "right", "distance"),
    [("", "", 0), ("abc", "abc", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)],
)
def test_the_edit_distance_counts_the_fewest_changes(left, right, distance):
    assert edit_distance(left, right) == distance == edit_distance(right, left)


def test_a_line_counts_only_when_it_is_read_without_a_mistake_and_spaces_are_no_mistakes():
    assert line_accuracy(["to day", "1.50"], ["today ", "150"]) == 0.5


def test_character_accuracy_weighs_lines_by_their_length():
    assert character_accuracy(["abcd", "xy"], ["abcd", "xz"]) == pytest.approx(5 / 6)
