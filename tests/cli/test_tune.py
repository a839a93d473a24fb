"""hago tune and hago report as a user runs them."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from hago.cli.options import UsageError
from hago.cli.quantities import BYTES, MILLISECONDS, SECONDS, SHARES, parse_quantity
from hago.cli.show_tune import show_outcome
from hago.deploy.load import load
from hago.figure import INK, LINE, SHADE
from hago.search.goal import Goal
from hago.search.metrics import doubt_of
from hago.search.outcome import Outcome
from hago.search.records import read_records
from tests.cli.program import MACHINE, Program, start_program


@pytest.mark.parametrize(
    ("text", "units", "value"),
    [
        ("10m", SECONDS, 600),
        ("1h30m", SECONDS, 5400),
        ("90s", SECONDS, 90),
        ("3ms", MILLISECONDS, 3),
        ("500 us", MILLISECONDS, 0.5),
        ("12MB", BYTES, 12e6),
        ("0.5%", SHARES, 0.005),
        (".005", SHARES, 0.005),
    ],
)
def test_quantities_are_read_as_people_write_them(text, units, value):
    assert parse_quantity(text, units, "--x") == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "m", "10", "-1m", "1e3s", "10 parsecs", "nan", "5m!"])
def test_what_is_no_duration_is_a_usage_error_that_says_what_is(text):
    with pytest.raises(UsageError, match="--budget 10s"):
        parse_quantity(text, SECONDS, "--budget")


def test_a_search_without_a_bound_is_refused(hago_program: Program, model, data, tmp_path):
    outcome = hago_program(
        "tune", model, "--hw", MACHINE, "--data", data, "--session", tmp_path / "s"
    )
    assert outcome.code == 2
    assert "Give --max-drop, --max-latency or --max-size." in outcome.err


@pytest.mark.parametrize(("option", "text"), [("--budget", "0s"), ("--trial-limit", "0m")])
def test_without_time_nothing_is_begun(
    hago_program: Program, model, data, tmp_path, option, text
):
    outcome = hago_program(
        *("tune", model, "--hw", MACHINE, "--data", data, "--session", tmp_path / "s"),
        *("--max-drop", "1%", option, text),
    )
    assert outcome.code == 2
    assert f"Give a longer one, for example {option} 10m." in outcome.err
    assert not (tmp_path / "s").exists()


@pytest.fixture(scope="module")
def session(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that was interrupted with Ctrl-C after its first trial, then ended."""
    folder = tmp_path_factory.mktemp("tune")
    arguments = (
        *("tune", model, "--hw", MACHINE, "--data", data, "--session", folder / "s"),
        *("--max-drop", "1%", "--metric", "sqnr", "--cache", folder / "latencies"),
    )
    interrupted = start_program(*arguments, cwd=folder)
    records = folder / "s" / "records.jsonl"
    end = time.monotonic() + 300
    while not (records.exists() and records.read_bytes().count(b"\n")):
        assert interrupted.poll() is None, interrupted.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    interrupted.send_signal(signal.SIGINT)
    out, err = interrupted.communicate(timeout=120)
    assert interrupted.returncode == 130, err
    assert "interrupted" in out
    assert _workers(folder / "s") == []
    assert load(folder / "s" / "best").manifest.precision == "float32"
    before = records.read_bytes()
    ended = start_program(*arguments, "--trials", "6", cwd=folder)
    (folder / "out").write_text("\n".join(ended.communicate(timeout=300)))
    assert ended.returncode == 0
    assert records.read_bytes().startswith(before)
    return folder / "s"


def _workers(session: Path) -> list[int]:
    """Processes that were started by this session's search and are still there."""
    parent = int((session / "lock").read_text())
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return found


def test_after_an_interruption_the_search_goes_on_to_its_end(session):
    lines = (session / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["trial"] for line in lines] == list(range(6))
    model = load(session / "best")
    outputs = model.run({"image": np.zeros((1, 3, 8, 8), np.float32)})
    assert np.isfinite(outputs["scores"]).all()


def test_the_page_is_whole_and_needs_nothing_else(session, hago_program: Program, tmp_path):
    outcome = hago_program("report", session, "-o", tmp_path / "page.html")
    assert outcome.code == 0
    text = (tmp_path / "page.html").read_text()
    has_gradients = find_spec("torch") is not None
    assert text.count("<svg") == text.count("</svg>") == 5
    assert (">by gradients</text>" in text) == has_gradients
    assert ("No sensitivities from gradients: this method needs PyTorch" in text) != has_gradients
    assert "Rank correlation with what lowering one group does to the loss" in text
    assert not re.search(r"(src|href)=[\"'](?!#)", text.replace("xlink:href", "href"))
    assert "<script" not in text
    for group in json.loads((session / "problem.json").read_text())["groups"]:
        assert group["name"] in text


def test_plots_take_the_pages_colours_so_that_they_can_be_read_at_night(
    session, hago_program: Program, tmp_path
):
    hago_program("report", session, "-o", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "prefers-color-scheme: dark" in text
    for plot in text.split("<svg")[1:]:
        svg, _, _ = plot.partition("</svg>")
        assert "fill: currentColor" in svg
        assert "stroke: var(--line)" in svg
        assert not {INK, LINE, SHADE, "#ffffff", "#000000"} & set(re.findall("#[0-9a-f]{6}", svg))


def test_the_same_session_gives_the_same_page(session, hago_program: Program, tmp_path):
    for name in ("a", "b"):
        hago_program("report", session, "-o", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_report_as_json_has_every_trial(session, hago_program: Program):
    found = json.loads(hago_program("report", session, "--json").out)
    assert [record["trial"] for record in found["records"]] == list(range(6))


def test_text_from_records_is_no_markup(session, hago_program: Program, tmp_path):
    copy = tmp_path / "s"
    copy.mkdir()
    for name in ("session.json", "problem.json"):
        (copy / name).write_bytes((session / name).read_bytes())
    lines = [json.loads(line) for line in (session / "records.jsonl").read_text().splitlines()]
    lines[1]["error"] = "<script>alert(1)</script>"
    (copy / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert hago_program("report", copy).code == 0
    assert "<script" not in (copy / "report.html").read_text()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"groups": [1]}', "\x00" * 10])
def test_a_damaged_problem_file_is_an_error(session, hago_program: Program, tmp_path, text):
    (tmp_path / "session.json").write_bytes((session / "session.json").read_bytes())
    (tmp_path / "problem.json").write_text(text)
    outcome = hago_program("report", tmp_path)
    assert outcome.code == 2
    assert "damaged" in outcome.err


def test_who_takes_a_session_for_an_artifact_is_told_where_that_is(session, hago_program: Program):
    outcome = hago_program("explain", session, "conv2d.weight -> conv2d[1]")
    assert outcome.code == 2
    assert f"Give {session / 'best'}: that is one." in outcome.err


def test_explain_says_what_the_search_chose(session, hago_program: Program):
    outcome = hago_program("explain", session / "best", "conv2d.weight -> conv2d[1]")
    assert outcome.code == 0, outcome.err
    assert "search took" in " ".join(outcome.out.split())


def test_a_budget_that_ended_before_a_mix_was_tried_is_told(session):
    records = read_records(session / "records.jsonl").records
    levels = tuple(r for r in records if r.proposer in ("float32", "level"))
    assert 1 < len(levels) < len(records)
    assert "no mix of precisions was tried" in told(session, records[:1])
    assert "no mix of precisions was tried" in told(session, levels)
    assert "no mix of precisions was tried" not in told(session, records)


def test_sensitivities_that_were_not_measured_are_told(session):
    records = read_records(session / "records.jsonl").records
    assert "sensitivities: 1 of 2 groups were measured" in told(session, records, sensitivities=1)
    assert "sensitivities:" not in told(session, records, sensitivities=2)


def test_a_bound_that_is_finer_than_the_metric_is_told(session):
    records = read_records(session / "records.jsonl").records
    text = told(session, records, step=1 / 32)
    assert "a drop of 1.00% cannot be told from none: one result more or less is 3.12%" in text
    assert "cannot be told" not in told(session, records, step=1 / 128)
    assert "cannot be told" not in told(session, records)


def test_what_a_drop_says_of_new_results_is_told(session):
    records = read_records(session / "records.jsonl").records
    text = told(session, records, doubt=doubt_of("top1", 2 / 104, 1 / 104))
    assert "2 of 104 results changed: of new ones 0.23% to 6.77% will (95%)" in text
    assert "of new ones" not in told(session, records)


def told(session, records, **found) -> str:
    """What people read of a search of two groups that the budget ended."""
    console = Console(file=io.StringIO(), width=200)
    about = (session, "net", MACHINE, Goal(max_drop=0.01), 2, 9)
    ended = (records[0], session / "best", "budget", 1.0)
    show_outcome(console, Outcome(*about, records, *ended, **found))
    return console.file.getvalue()


def test_a_bound_that_cannot_be_kept_fails_after_telling_what_is_closest(
    session, hago_program: Program, model, data, tmp_path
):
    cache = session.parent / "latencies"
    outcome = hago_program(
        *("tune", model, "--hw", MACHINE, "--data", data, "--session", tmp_path / "s"),
        *("--max-size", "1B", "--objective", "accuracy", "--trials", "2", "--cache", cache),
    )
    assert outcome.code == 2
    assert "no strategy that was tried keeps the bounds" in outcome.err
    assert re.search(r"exceeds that on size: drop .*%, latency .* ms, size .* kB", outcome.err)
    assert load(tmp_path / "s" / "best")
    assert os.listdir(tmp_path / "s")
