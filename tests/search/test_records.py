"""Records survive kills and damage."""

from __future__ import annotations

import json

import pytest

from hago.search.goal import Figures
from hago.search.records import (
    Log,
    Record,
    append_record,
    drop_cut_off_line,
    fitting,
    read_records,
)

RECORD = Record(
    3, "milp", ("int8", "float32"), Figures(1e-3, 2e-3, 1.5, 1e3), Figures(1e-3, 0.0), None, True
)  # fmt: skip


def test_a_record_is_read_as_it_was_written(tmp_path):
    append_record(tmp_path / "r", RECORD)
    append_record(tmp_path / "r", RECORD)
    assert read_records(tmp_path / "r").records == (RECORD, RECORD)


def test_a_missing_file_has_no_records(tmp_path):
    assert read_records(tmp_path / "none").records == ()


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_line_that_a_kill_cut_off_is_dropped_and_later_ones_are_whole(tmp_path, cut):
    path = tmp_path / "r"
    append_record(path, RECORD)
    path.write_bytes(path.read_bytes() + RECORD.to_line().encode()[:cut])
    assert read_records(path).records == (RECORD,)
    drop_cut_off_line(path)
    append_record(path, RECORD)
    assert read_records(path).records == (RECORD, RECORD)
    assert read_records(path).damaged == 0


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b"[" * 100_000,
        json.dumps({**json.loads(RECORD.to_line()), "precisions": [1]}).encode(),
        json.dumps({**json.loads(RECORD.to_line()), "predicted": {"x": 1}}).encode(),
        json.dumps({**json.loads(RECORD.to_line()), "trial": "x"}).encode(),
        json.dumps({**json.loads(RECORD.to_line()), "predicted": None}).encode(),
        RECORD.to_line().replace("1.5", "NaN").encode().rstrip(),
        RECORD.to_line().replace("1.5", "-1e400").encode().rstrip(),
    ],
)
def test_a_damaged_line_is_skipped_and_counted(tmp_path, line):
    path = tmp_path / "r"
    path.write_bytes(RECORD.to_line().encode() + line + b"\n" + RECORD.to_line().encode())
    log = read_records(path)
    assert log.records == (RECORD, RECORD)
    assert log.damaged == 1


def test_a_record_of_other_groups_or_precisions_counts_as_damaged():
    log = Log((RECORD, RECORD), damaged=1)
    assert fitting(log, [("float32", "int8"), ("float32",)]) == log
    assert fitting(log, [("float32", "int8"), ("int8",)]) == Log((), 3)
    assert fitting(log, [("float32", "int8")]) == Log((), 3)


def test_what_was_measured_counts_before_what_was_simulated_and_predicted():
    simulated, measured = Figures(2.0, 2.0), Figures(None, 3.0, 3.0)
    record = Record(0, "x", (), Figures(1.0, 1.0, 1.0, 1.0), simulated, measured)
    assert record.known == Figures(2.0, 3.0, 3.0, 1.0)
