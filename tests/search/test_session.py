"""A session's folder: one process at a time, about one thing, with a best artifact."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from multiprocessing.synchronize import Event

import pytest

from hago.errors import DataError
from hago.search.goal import Figures
from hago.search.records import Record, read_records
from hago.search.session import open_session
from hago.search.session_files import read_session

ABOUT = {"model": "abc", "hardware": "x86-bf16"}
RECORD = Record(0, "float32", ("float32",), Figures())


def hold(folder, is_open: Event, may_end: Event) -> None:
    with open_session(folder):
        is_open.set()
        may_end.wait(30)


def test_a_second_process_is_refused_with_the_number_of_the_first(tmp_path):
    context = multiprocessing.get_context("fork")
    is_open, may_end = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "s", is_open, may_end))
    other.start()
    try:
        assert is_open.wait(30)
        with pytest.raises(DataError, match=f"process {other.pid}"), open_session(tmp_path / "s"):
            pass
    finally:
        may_end.set()
        other.join()
    with open_session(tmp_path / "s"):
        pass


def test_a_session_remembers_what_it_is_about(tmp_path):
    with open_session(tmp_path) as session:
        session.check(ABOUT)
    with open_session(tmp_path) as session:
        session.check(ABOUT)
        with pytest.raises(DataError, match="its hardware is x86-bf16, not x86-amx"):
            session.check({**ABOUT, "hardware": "x86-amx"})


@pytest.mark.parametrize("name", ["version", "machine", "threads"])
def test_after_an_upgrade_or_a_move_a_session_asks_before_it_measures_again(tmp_path, name):
    before, after = {**ABOUT, name: "old"}, {**ABOUT, name: "new"}
    with open_session(tmp_path) as session:
        session.check(before)
        session.append(RECORD)
        session.candidate.mkdir()
        (session.candidate / "manifest.json").write_text("kept")
        session.keep(session.candidate, RECORD)
    with open_session(tmp_path) as session:
        with pytest.raises(DataError, match=f"its {name} is old, not new(.|\n)*Give --anew"):
            session.check(after)
        session.check(after, anew=True)
        assert session.records().records == ()
        assert session.kept_trial() is None
        assert (session.best / "manifest.json").read_text() == "kept"
        assert read_records(tmp_path / "records-1.jsonl").records == (RECORD,)
    with open_session(tmp_path) as session:
        session.check(after)
        with pytest.raises(DataError, match="its model is abc, not def"):
            session.check({**before, "model": "def"}, anew=True)


def test_a_session_that_was_killed_while_it_began_begins_again(tmp_path):
    (tmp_path / "lock").write_text("1\n")
    (tmp_path / ".session.json").write_text('{"format"')
    with open_session(tmp_path) as session:
        session.check(ABOUT)
    assert json.loads((tmp_path / "session.json").read_text())["identity"] == ABOUT


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(DataError, match="not empty"), open_session(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.tex"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 1}',
        '{"format": 1, "identity": []}',
        '{"format": 99, "identity": {}}',
        "[" * 100_000,
        "\x00",
        json.dumps({"format": 1, "identity": {"model": {"deep": ["x"]}}}),
        '{"format": 1, "identity": {"x": "' + "y" * (1 << 20) + '"}}',
    ],
)
def test_a_hostile_session_file_is_an_error_that_says_so(tmp_path, text):
    (tmp_path / "session.json").write_text(text)
    with (
        open_session(tmp_path) as session,
        pytest.raises(DataError, match=r"damaged|something else"),
    ):
        session.check(ABOUT)


def test_the_best_is_exchanged_in_one_step_and_the_old_one_removed(tmp_path):
    with open_session(tmp_path) as session:
        for trial in (0, 4):
            session.candidate.mkdir()
            (session.candidate / "manifest.json").write_text(str(trial))
            session.keep(session.candidate, replace(RECORD, trial=trial))
            assert (session.best / "manifest.json").read_text() == str(trial)
            assert session.kept_trial() == trial
        assert [path.name for path in tmp_path.glob("artifact-*")] == ["artifact-4"]


@pytest.mark.parametrize("text", [None, b"", b"\x00{broken\n"])
def test_the_record_of_the_best_outlives_the_loss_of_all_records(tmp_path, text):
    best = replace(RECORD, trial=4)
    with open_session(tmp_path) as session:
        session.check(ABOUT)
        for record in (RECORD, best):
            session.append(record)
        session.candidate.mkdir()
        session.keep(session.candidate, best)
        assert session.records().records == (RECORD, best)
    lost = tmp_path / "records.jsonl"
    lost.unlink()
    if text is not None:
        lost.write_bytes(text)
    for _ in range(2):
        with open_session(tmp_path) as session:
            assert session.records().records == (best,)


def test_a_record_whose_artifact_is_not_the_best_is_none_of_it(tmp_path):
    with open_session(tmp_path) as session:
        session.check(ABOUT)
        session.candidate.mkdir()
        session.keep(session.candidate, RECORD)
        (tmp_path / "best.jsonl").write_text(replace(RECORD, trial=1).to_line())
        assert session.records().records == ()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="no session"), open_session(tmp_path / "file" / "s"):
        pass


def test_a_report_needs_a_session_that_has_found_something(tmp_path):
    with pytest.raises(DataError, match="no session"):
        read_session(tmp_path)
