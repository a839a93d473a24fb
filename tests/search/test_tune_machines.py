"""Machines that a search can run on, measure on, or neither."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hago.errors import BuildError, SpecError
from hago.hardware.load import spec_folder
from hago.search import subject
from hago.search.goal import Goal
from hago.search.tune import tune
from tests.search import stand_ins
from tests.search.stand_ins import TRIALS, ComputedRunner, request_of

pytestmark = pytest.mark.usefixtures("prepared_once")


def test_for_another_machine_size_is_searched_and_latency_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(subject, "missing_features", lambda spec: ("amx_int8",))
    request = request_of(tmp_path, Goal("size", max_drop=1e-2))
    monkeypatch.setattr(stand_ins, "computed_latency", lambda *arguments: None)
    outcome = tune(request, tmp_path / "s", replace(TRIALS, trials=4), runner=ComputedRunner())
    assert outcome.is_met
    assert outcome.best.measured.latency_ms is None
    other = replace(request, goal=Goal("latency", max_drop=1e-2), hardware="x86-vnni")
    with pytest.raises(SpecError, match="this CPU lacks amx_int8"):
        tune(other, tmp_path / "other", TRIALS, runner=ComputedRunner())


def test_a_machine_without_kernels_is_refused_before_the_long_work(tmp_path):
    path = tmp_path / "other.py"
    known = spec_folder() / "x86_vnni.py"
    path.write_text(known.read_text().replace("avx512f", "another"))
    with pytest.raises(BuildError, match="no code generation for this machine"):
        tune(replace(request_of(tmp_path), hardware=str(path)), tmp_path / "s", TRIALS)


def test_latencies_of_a_gpu_are_refused_before_the_long_work(tmp_path):
    with pytest.raises(SpecError, match="does not measure latencies on GPUs"):
        tune(replace(request_of(tmp_path), hardware="cuda-sm80"), tmp_path / "s", TRIALS)
