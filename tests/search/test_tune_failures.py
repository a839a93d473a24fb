"""What fails in a search: a trial becomes a record, a disk or a metric ends it."""

from __future__ import annotations

import shutil
from concurrent.futures import Future
from dataclasses import replace

import pytest

from hago.errors import DataError
from hago.search.disk import DiskError
from hago.search.findings import read_findings
from hago.search.tune import tune
from hago.search.work import time_segment
from tests.search.stand_ins import TRIALS, ComputedRunner, request_of, told

pytestmark = pytest.mark.usefixtures("prepared_once")


def test_a_trial_that_crashes_is_a_record_and_the_search_goes_on(tmp_path):
    def is_artifact(number: int) -> bool:
        return number % 3 == 0

    outcome = tune(
        request_of(tmp_path), tmp_path / "s", TRIALS, runner=ComputedRunner(failing=is_artifact)
    )
    assert len(outcome.records) == 10
    assert outcome.errors
    assert all("signal 11" in record.error for record in outcome.errors)
    assert outcome.best is not None


def test_a_sub_graph_that_cannot_be_measured_is_told_and_never_chosen(tmp_path):
    class Broken(ComputedRunner):
        """Convolutions on codes of the residual's sub-graph crash."""

        def submit(self, call, *args):
            text = args[0].script()
            is_broken = 'conv2d' in text and "uint8" in text and text.count("nn.conv2d") == 2
            self.failing = lambda number: call is time_segment and is_broken
            return super().submit(call, *args)

    outcome = tune(request_of(tmp_path), tmp_path / "s", TRIALS, runner=Broken())
    failures = read_findings(tmp_path / "s").failures
    assert failures
    assert all("signal 11" in text for text in failures.values())
    assert outcome.is_met
    again = tune(request_of(tmp_path), tmp_path / "s", TRIALS, runner=Broken())
    assert told(again) == told(outcome)
    assert read_findings(tmp_path / "s").failures.keys() == failures.keys()


def test_an_artifact_that_computes_something_else_is_refused(tmp_path):
    class Wrong(ComputedRunner):
        def submit(self, call, *args):
            future = super().submit(call, *args)
            if hasattr(future.result(), "outputs") and self.calls > 1:
                wrong = tuple({"y": -o["y"]} for o in future.result().outputs)
                result = replace(future.result(), outputs=wrong)
                future = type(future)()
                future.set_result(result)
            return future

    outcome = tune(request_of(tmp_path), tmp_path / "s", TRIALS, runner=Wrong())
    assert any("wrong results" in record.error for record in outcome.errors)
    assert set(outcome.best.precisions) == {"float32"}


def test_a_full_disk_ends_the_search_and_fails_no_trial(tmp_path):
    class Full(ComputedRunner):
        def submit(self, call, *args):
            future = super().submit(call, *args)
            if self.calls > 10:
                future = Future()
                future.set_exception(DiskError("verify: no room on a disk"))
            return future

    request = request_of(tmp_path)
    whole = tune(request, tmp_path / "whole", TRIALS, runner=ComputedRunner())
    shutil.rmtree(tmp_path / "latencies")
    with pytest.raises(DiskError):
        tune(request, tmp_path / "parts", TRIALS, runner=Full())
    parts = tune(request, tmp_path / "parts", TRIALS, runner=ComputedRunner())
    assert told(parts) == told(whole)


def test_a_cache_that_cannot_be_written_is_refused_before_the_long_work(tmp_path):
    (tmp_path / "file").write_text("")
    request = request_of(tmp_path, cache=tmp_path / "file" / "latencies")
    with pytest.raises(DataError, match=r"latencies: cannot be written(.|\n)*--cache"):
        tune(request, tmp_path / "s", TRIALS, runner=ComputedRunner())
    assert not (tmp_path / "s" / "session.json").exists()


def test_a_users_metric_that_fails_is_an_error_that_names_it(tmp_path):
    (tmp_path / "mine.py").write_text("def score(outputs, samples):\n    return outputs[99]\n")
    request = request_of(tmp_path, metric=f"{tmp_path / 'mine.py'}:score")
    with pytest.raises(DataError, match="score' failed: IndexError"):
        tune(request, tmp_path / "s", TRIALS, runner=ComputedRunner())
