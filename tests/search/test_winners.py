"""What is known of kernels outlives a compilation, and a file that is wrong does no harm."""

import json
from dataclasses import replace

import pytest

from hago.codegen.workload import Conv2d
from hago.lower.select import schedules
from hago.search.cache import Cache
from hago.search.winners import Winner, kernel_key, open_winners
from tests.kernel_search.works import SPEC, depthwise, product


@pytest.fixture
def winners(tmp_path):
    return open_winners(Cache(tmp_path), SPEC, 1)


def last(winners, work):
    return schedules(work[0], winners.machine)[-1]


def test_a_winner_is_chosen_in_later_compilations(winners, tmp_path):
    work = product()
    winners.keep(*work, Winner(str(last(winners, work)), 2.0, 1.0))
    again = open_winners(Cache(tmp_path), SPEC, 1)
    assert again.choose(*work) == last(winners, work)
    assert again.find(*work) == Winner(str(last(winners, work)), 2.0, 1.0)


def test_nothing_is_chosen_where_nothing_was_measured_or_the_template_was_right(winners):
    work = product()
    assert winners.choose(*work) is None
    winners.keep(*work, Winner(str(schedules(work[0], winners.machine)[0]), 2.0, 2.0))
    assert winners.choose(*work) is None
    assert winners.find(*work) is not None


def test_other_numbers_of_a_calibration_are_the_same_kernel(winners):
    work = product(zero_point=3.0, scale=0.5)
    winners.keep(*work, Winner(str(last(winners, work)), 2.0, 1.0))
    assert winners.choose(*product(zero_point=7.0, scale=0.1)) == last(winners, work)


def test_of_the_padding_only_counts_whether_it_is_zero(winners):
    (workload, epilogue) = depthwise()
    keys = [
        kernel_key(replace(workload, pad_code=code), epilogue, winners.machine)
        for code in (0, 7, 9)
    ]
    assert keys[1] == keys[2] != keys[0]
    assert isinstance(workload, Conv2d)


def test_another_shape_machine_or_number_of_threads_knows_nothing(winners, tmp_path):
    work = product()
    winners.keep(*work, Winner(str(last(winners, work)), 2.0, 1.0))
    assert winners.find(*product(m=9)) is None
    assert open_winners(Cache(tmp_path), SPEC, 2).find(*work) is None
    other = replace(SPEC, target={**SPEC.target, "mcpu": "znver3"})
    assert open_winners(Cache(tmp_path), other, 1).find(*work) is None


@pytest.mark.parametrize("value", [
    None, 3.0, "8x2", [], {"schedule": "8x2"}, {"schedule": 7, "default_us": 1.0, "best_us": 1.0},
    {"schedule": "__import__('os')", "default_us": 1.0, "best_us": 1.0},
])  # fmt: skip
def test_what_is_no_winner_is_ignored(winners, value):
    work = product()
    winners.cache.put(kernel_key(*work, winners.machine), value)
    assert winners.choose(*work) is None


def test_a_copy_knows_what_was_known_and_learns_nothing_more(winners, tmp_path):
    known, later, other = product(), product(m=9), open_winners(Cache(tmp_path), SPEC, 2)
    assert winners.digest == ""
    winners.keep(*known, Winner(str(last(winners, known)), 2.0, 1.0))
    other.keep(*later, Winner(str(last(winners, later)), 2.0, 1.0))
    copy = winners.kept_in(tmp_path / "copy")
    winners.copy_to(tmp_path / "copy")
    assert copy.choose(*known) == last(winners, known)
    assert copy.digest == winners.digest != ""
    winners.keep(*later, Winner(str(last(winners, later)), 2.0, 1.0))
    assert copy.choose(*later) is None
    assert copy.digest != winners.digest
    assert other.kept_in(tmp_path / "copy").find(*later) is None


@pytest.mark.parametrize("text", ["", "{", "\0\0\0", "[" * 100_000, '{"value": 1}'])
def test_a_damaged_file_is_ignored_and_replaced(winners, tmp_path, text):
    work = product()
    winners.keep(*work, Winner(str(last(winners, work)), 2.0, 1.0))
    (file,) = tmp_path.rglob("*.json")
    file.write_text(text)
    assert winners.choose(*work) is None
    winners.keep(*work, Winner(str(last(winners, work)), 2.0, 1.0))
    assert json.loads(file.read_text())["value"]["default_us"] == 2.0
