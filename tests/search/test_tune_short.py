"""A budget that is too short for everything: what comes first, what is foretold, what is kept."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hago.deploy.manifest import read_manifest
from hago.search import course
from hago.search import tune as search
from hago.search.findings import read_findings
from hago.search.laboratory import FIRST, LEVEL
from hago.search.page import render_page
from hago.search.request import Effort
from hago.search.tune import tune
from tests.search.stand_ins import ComputedRunner, request_of, told

EFFORT = Effort(budget_s=1e6, trials=8, seed=3)
GROUPS, LEVELS = 5, 3


@pytest.fixture
def clock(monkeypatch, prepared_once):
    """One that goes on by a second with each run of the simulation, and not otherwise."""
    now = [0.0]
    time = SimpleNamespace(monotonic=lambda: now[0])
    build = search.build_subject

    def ticking(request, clock, check, simulation):
        subject = build(request, clock, check, simulation)

        def simulate(assignment, samples):
            now[0] += 1
            return subject.simulate(assignment, samples)

        return replace(subject, simulate=simulate)

    monkeypatch.setattr(search, "build_subject", ticking)
    monkeypatch.setattr(search, "time", time)
    monkeypatch.setattr(course, "time", time)


def search_for(seconds, request, folder, **runner):
    effort = replace(EFFORT, budget_s=seconds)
    return tune(request, folder, effort, runner=ComputedRunner(**runner))


def test_single_precisions_are_tried_before_anything_else_takes_time(tmp_path, clock):
    outcome = search_for(LEVELS, request_of(tmp_path), tmp_path / "s")
    assert outcome.stopped == "budget"
    assert [record.proposer for record in outcome.records] == [FIRST, LEVEL, LEVEL]
    assert outcome.sensitivities == 0
    assert "float32" not in outcome.best.precisions
    reasons = [edge.reason for edge in read_manifest(outcome.artifact).edges]
    assert any("search took int8, all groups at once (noise share " in reason for reason in reasons)
    findings = read_findings(tmp_path / "s")
    assert findings.best == outcome.best
    assert findings.sensitivities == 0
    assert findings.ranks("noise") is None
    assert "What each group alone costs was not measured yet." in render_page(findings)


# Lowering all groups of this network alone takes 9 runs; half of what is left after the levels
# is less here.
SHORT = LEVELS + 10


def test_sensitivities_end_with_their_share_of_the_time_and_others_are_foretold(tmp_path, clock):
    outcome = search_for(SHORT, request_of(tmp_path), tmp_path / "s")
    assert 0 < outcome.sensitivities < outcome.groups == GROUPS
    assert [record.sensitivities for record in outcome.records][:LEVELS] == [0] * LEVELS
    proposed = outcome.records[LEVELS:]
    assert proposed
    assert {record.sensitivities for record in proposed} == {outcome.sensitivities}
    findings = read_findings(tmp_path / "s")
    groups, count = findings.groups, outcome.sensitivities
    assert f"had time to measure {count} of\n{GROUPS} groups" in render_page(findings)
    assert findings.sensitivities == count
    assert all(noise > 0 for group in groups for noise in group.noise[1:])
    assert all(bool(group.loss_change) == group.is_measured for group in groups)


def test_a_longer_budget_goes_on_with_the_groups_that_are_left(tmp_path, clock):
    request = request_of(tmp_path)
    first, same, longer = (
        search_for(seconds, request, tmp_path / "s") for seconds in (SHORT, SHORT, 1e6)
    )
    assert same.sensitivities == first.sensitivities < GROUPS
    assert longer.sensitivities == GROUPS
    assert told(longer)[: len(first.records)] == told(first)


@pytest.mark.parametrize("text", ["", "[]", '{"budget_s": 9, "found": {}}', "\x00"])
def test_sensitivities_that_were_lost_are_found_anew(tmp_path, clock, text):
    request = request_of(tmp_path)
    before = search_for(1e6, request, tmp_path / "s")
    path = tmp_path / "s" / "sensitivity.json"
    whole = path.read_text()
    path.write_text(text)
    after = search_for(1e6, request, tmp_path / "s")
    assert told(after) == told(before)
    assert path.read_text() == whole


def test_a_session_replayed_with_what_time_decided_has_the_same_records(tmp_path, clock):
    """Time decides which groups are lowered alone, and nothing else does."""
    request, budget = request_of(tmp_path), SHORT + 4  # for several trials that are built
    whole = search_for(budget, request, tmp_path / "whole")
    assert 0 < whole.sensitivities < GROUPS
    parts, random = tmp_path / "parts", np.random.default_rng(0)
    search_for(LEVELS, request, parts)
    shutil.copy(tmp_path / "whole" / "sensitivity.json", parts)
    effort, interruptions = replace(EFFORT, budget_s=budget, trials=len(whole.records)), 0
    while True:
        stop = int(random.integers(1, 3))
        runner = ComputedRunner(stopping=lambda number, stop=stop: number == stop)
        found = tune(request, parts, effort, runner=runner)
        if found.stopped != "interrupted":
            break
        interruptions += 1
    assert interruptions
    assert told(found) == told(whole)
