"""Sums over parts against the whole, on latencies that are computed instead of measured."""

import pytest

from hago.clock import Clock
from hago.progress import SILENT
from hago.search.subject import build_subject
from tests.search.stand_ins import ComputedRunner, request_of
from tests.zoo.additive import Sums, compare, strategies


def test_where_operations_cost_the_same_anywhere_both_sums_are_the_whole(tmp_path):
    subject = build_subject(request_of(tmp_path), Clock(SILENT), lambda identity: None)
    wanted = strategies(subject, 4)
    assert wanted[: len(subject.space.levels())] == subject.space.levels()
    for sums in compare(subject, ComputedRunner(), wanted):
        # what crosses a cut is quantized on both sides, which costs next to nothing here
        assert sums.errors == pytest.approx((0, 0), abs=0.05)


def test_errors_are_shares_of_the_whole():
    assert Sums(10.0, 11.0, 7.0).errors == pytest.approx((0.1, 0.3))
