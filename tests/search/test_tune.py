"""The search from a request to its best artifact: what it finds within its bounds."""

from __future__ import annotations

import json
import math
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from hago.dataflow import read_dataflow
from hago.deploy.manifest import read_manifest
from hago.edges import find_edge
from hago.pairs import are_paired, is_overlapping, runs_of
from hago.search.goal import Goal
from hago.search.tune import tune
from hago.search.work import Verified
from tests.search import stand_ins
from tests.search.stand_ins import TRIALS, ComputedRunner, request_of

pytestmark = pytest.mark.usefixtures("prepared_once")


def test_the_best_keeps_the_bound_and_is_faster_than_float(tmp_path):
    outcome = tune(request_of(tmp_path), tmp_path / "s", TRIALS, runner=ComputedRunner())
    assert outcome.is_met
    assert outcome.best.measured.drop <= 5e-4
    assert outcome.best.measured.latency_ms < outcome.floats.measured.latency_ms
    manifest = read_manifest(outcome.artifact)
    assert manifest.latency_ms == {"median": outcome.best.measured.latency_ms}
    chosen = {edge.chosen for edge in manifest.edges if "search took int" in edge.reason}
    assert any("int" in scheme for scheme in chosen)


def test_a_mix_tells_what_each_group_alone_costs(tmp_path):
    request = request_of(tmp_path, Goal("latency", max_drop=2e-4))
    outcome = tune(request, tmp_path / "s", TRIALS, runner=ComputedRunner())
    assert len(set(outcome.best.precisions)) > 1
    reasons = [edge.reason for edge in read_manifest(outcome.artifact).edges]
    assert any("search took int8 (noise share of each alone: int8 " in text for text in reasons)


def test_paired_weights_are_found_where_others_would_saturate_and_explained(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(stand_ins, "computed_latency", lambda module, *_: latency_by_bits(module))
    goal = Goal("latency", max_drop=1e-2)
    outcome = tune(request_of(tmp_path, goal), tmp_path / "s", TRIALS, runner=ComputedRunner())
    assert outcome.is_met
    assert "int8_pairs" in outcome.best.precisions
    report = find_edge(read_manifest(outcome.artifact).edges, "conv2d_1.weight -> conv2d_1[1]")
    assert report.chosen.startswith("int8_pairs")
    # vpmaddubsw adds two products in int16, which saturates: the row that takes pairs, no others
    assert "conv2d(uint8, int8_pairs) -> int16" in report.reason
    assert "search took int8_pairs, all groups at once (noise share " in report.reason


def latency_by_bits(module):
    """In ms: products on 8-bit weights take half of float32's time, on paired weights a quarter."""
    total = 1e-3
    for each in read_dataflow(module).nodes:
        weights = [v for v in each.constants.values() if v.dtype == np.int8]
        if each.op in ("nn.conv2d", "matmul"):
            each_ms = 4e-4 if not weights else 1e-4 if _are_paired(weights[0]) else 2e-4
            total += each_ms * math.prod(each.shape)
    return total


def _are_paired(weight):
    return are_paired(runs_of(weight), is_overlapping(weight))


def test_a_looser_bound_is_never_slower(tmp_path):
    found = []
    for bound in (0.0, 2e-4, 1e-2):
        goal = Goal("latency", max_drop=bound)
        request = request_of(tmp_path, goal)
        found.append(tune(request, tmp_path / str(bound), TRIALS, runner=ComputedRunner()))
    latencies = [outcome.best.measured.latency_ms for outcome in found]
    assert latencies == sorted(latencies, reverse=True)
    assert set(found[0].best.precisions) == {"float32"}


def test_a_machine_that_becomes_slower_changes_no_latency(tmp_path):
    """What is measured takes three times as long, and so does the best beside it."""

    class Slowing(ComputedRunner):
        def submit(self, call, *args):
            future = super().submit(call, *args)
            found = future.result()
            if isinstance(found, Verified) and found.beside_ms is not None:
                slow = {"latency_ms": 3 * found.latency_ms, "beside_ms": 3 * found.beside_ms}
                future = Future()
                future.set_result(replace(found, **slow))
            return future

    steady, slowing = (
        tune(request_of(tmp_path), tmp_path / kind.__name__, TRIALS, runner=kind())
        for kind in (ComputedRunner, Slowing)
    )
    wanted = [r.measured.latency_ms for r in steady.records if r.measured]
    assert len(wanted) > 1
    assert [r.measured.latency_ms for r in slowing.records if r.measured] == pytest.approx(wanted)


def test_a_bound_that_nothing_keeps_is_said_and_the_closest_is_kept(tmp_path):
    goal = Goal("accuracy", max_latency_ms=1e-9)
    outcome = tune(request_of(tmp_path, goal), tmp_path / "s", TRIALS, runner=ComputedRunner())
    assert not outcome.is_met
    fastest = min(r.measured.latency_ms for r in outcome.records if r.measured)
    assert outcome.best.measured.latency_ms == fastest


def test_the_size_objective_finds_the_fewest_bytes_within_the_drop(tmp_path):
    goal = Goal("size", max_drop=1e-2)
    outcome = tune(request_of(tmp_path, goal), tmp_path / "s", TRIALS, runner=ComputedRunner())
    sizes = [r.measured.size_bytes for r in outcome.records if r.measured]
    assert outcome.best.measured.size_bytes == min(sizes)
    assert min(sizes) < outcome.floats.measured.size_bytes
    assert any("int4" in record.precisions for record in outcome.records)


def test_artifacts_are_compressed_for_who_asks_for_it(tmp_path):
    request = replace(request_of(tmp_path, Goal("size", max_drop=1e-2)), compressed=True)
    outcome = tune(request, tmp_path / "s", TRIALS, runner=ComputedRunner())
    names = sorted(path.name for path in (tmp_path / "s" / "best").iterdir())
    assert names == ["manifest.json", "model.so.gz"]
    assert outcome.is_met


def test_fewer_bits_than_the_machine_multiplies_are_for_who_minds_the_size(tmp_path):
    outcome = tune(request_of(tmp_path), tmp_path / "s", TRIALS, runner=ComputedRunner())
    assert not any({"int4", "int6"} & set(record.precisions) for record in outcome.records)


def test_a_users_metric_judges(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def score(outputs, samples):\n"
        "    assert len(outputs) == len(samples) == 4\n"
        "    return float(sum(o['y'].sum() for o in outputs))\n"
    )
    request = request_of(tmp_path, metric=f"{tmp_path / 'mine.py'}:score")
    outcome = tune(request, tmp_path / "s", replace(TRIALS, trials=3), runner=ComputedRunner())
    assert outcome.records[0].measured.drop == pytest.approx(0, abs=1e-4)


def test_the_outcome_and_the_records_are_json(tmp_path):
    outcome = tune(
        request_of(tmp_path), tmp_path / "s", replace(TRIALS, trials=3), runner=ComputedRunner()
    )
    assert json.loads(json.dumps(outcome.to_json()))["trials"] == 3
