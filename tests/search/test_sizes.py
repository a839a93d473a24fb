"""Sizes of artifacts: predicted along a line through those that were measured."""

import pytest

from hago.search.goal import Figures
from hago.search.problem import SizeLine, size_line
from hago.search.records import Record
from tests.search.problems import space_of

SPACE = space_of(3, 3)  # 8, 4 or 2 thousand bytes of weights in all, and what lies between


def history(**sizes):
    """A measured trial for each precision."""
    return [
        Record(number, "test", (name, name), Figures(), measured=Figures(size_bytes=size))
        for number, (name, size) in enumerate(sizes.items())
    ]


def test_nothing_is_known_before_an_artifact_was_built():
    assert size_line(SPACE, [], compressed=True) is None
    assert size_line(SPACE, history(float32=None), compressed=True) is None


def test_a_byte_of_weights_is_a_byte_of_a_library():
    line = size_line(SPACE, history(float32=9_000, int8=2_700), compressed=False)
    assert line == SizeLine(700.0, 1.0)


def test_compressed_weights_shrink_as_those_that_were_measured_did():
    found = history(float32=8_500, bfloat16=4_300, int8=2_600)
    assert size_line(SPACE, found, compressed=True) == SizeLine(pytest.approx(900.0), 0.85)


def test_before_there_is_a_second_one_they_do_not_shrink():
    assert size_line(SPACE, history(int8=2_600), compressed=True) == SizeLine(600.0, 1.0)


def test_code_that_differs_is_not_mistaken_for_weights():
    line = size_line(SPACE, history(bfloat16=9_000, int8=2_600), compressed=True)
    assert line == SizeLine(600.0, 1.0)
