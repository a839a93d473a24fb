"""The search from a request to its best artifact, on latencies that do not depend on chance."""

from __future__ import annotations

import json
import math
import multiprocessing
import shutil
import signal
import time
from concurrent.futures import Future
from dataclasses import asdict, replace

import numpy as np
import pytest

from hago.dataflow import read_dataflow
from hago.deploy.manifest import read_manifest
from hago.edges import find_edge
from hago.errors import BuildError, DataError, SpecError
from hago.hardware.load import load_spec, spec_folder
from hago.lower.select import schedules
from hago.realize import interpret
from hago.search import subject
from hago.search import tune as search
from hago.search.cache import Cache
from hago.search.disk import DiskError
from hago.search.findings import read_findings
from hago.search.goal import Goal
from hago.search.metrics import noise_share
from hago.search.request import Effort
from hago.search.tune import tune
from hago.search.winners import Winner, open_winners
from hago.search.work import Setting, time_segment
from hago.simulate import simulate
from tests.kernel_search.works import product
from tests.search import stand_ins
from tests.search.stand_ins import MACHINE, ComputedRunner, request_of

TRIALS = Effort(budget_s=1e6, trials=10, seed=3)


def interpreted(numbers):
    """The simulated module interpreted: compiling it takes longer than all of these trials."""
    simulation = simulate(numbers.graph)
    names = simulation.module["main"].attrs["hago.output_names"]

    def run(assignment, samples):
        arguments = simulation.arguments(numbers.model(assignment))
        return [
            dict(zip(names, interpret(simulation.module, {**arguments, **s}), strict=True))
            for s in samples
        ]

    return run


@pytest.fixture(scope="module")
def subjects():
    return {}


@pytest.fixture(autouse=True)
def prepared_once(monkeypatch, subjects):
    """What does not depend on goal and folder is made once for all tests."""

    def build(request, clock, check, simulation):
        key = request.metric, request.recipe, request.hardware, request.goal.needs_size
        if key not in subjects:
            subjects[key] = subject.build_subject(request, clock, lambda identity: None)
        check({**subjects[key].identity, "recipe": ",".join(request.recipe)})
        return replace(subjects[key], request=request)

    monkeypatch.setattr(subject, "build_simulation", interpreted)
    monkeypatch.setattr(search, "build_subject", build)


def told(outcome):
    """The records without what the clock says."""
    return [{**asdict(record), "seconds": 0} for record in outcome.records]


def test_the_best_keeps_the_bound_and_is_faster_than_float(tmp_path):
    outcome = tune(request_of(tmp_path), tmp_path / "s", TRIALS, runner=ComputedRunner())
    assert outcome.is_met
    assert outcome.best.measured.drop <= 5e-4
    assert outcome.best.measured.latency_ms < outcome.floats.measured.latency_ms
    manifest = read_manifest(outcome.artifact)
    assert manifest.latency_ms == {"median": outcome.best.measured.latency_ms}
    chosen = {edge.chosen for edge in manifest.edges if "search took int" in edge.reason}
    assert any("int" in scheme for scheme in chosen)


def test_weights_of_seven_bits_are_found_where_eight_would_saturate_and_explained(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(stand_ins, "computed_latency", lambda module, *_: latency_by_bits(module))
    goal = Goal("latency", max_drop=1e-2)
    outcome = tune(request_of(tmp_path, goal), tmp_path / "s", TRIALS, runner=ComputedRunner())
    assert outcome.is_met
    assert "int7" in outcome.best.precisions
    report = find_edge(read_manifest(outcome.artifact).edges, "conv2d_1.weight -> conv2d_1[1]")
    assert report.chosen.startswith("int7")
    # vpmaddubsw adds two products in int16, which saturates: the row that takes 7 bits, no more
    assert "conv2d(uint8, int7) -> int16" in report.reason
    assert "search took int7 (noise share of each alone: int8 " in report.reason


def latency_by_bits(module):
    """In ms: products on 8-bit weights take half of float32's time, on 7-bit weights a quarter."""
    total = 1e-3
    for each in read_dataflow(module).nodes:
        weights = [v for v in each.constants.values() if v.dtype == np.int8]
        if each.op in ("nn.conv2d", "matmul"):
            bits = 32 if not weights else 7 if np.abs(weights[0].astype(int)).max() < 64 else 8
            total += {32: 4e-4, 8: 2e-4, 7: 1e-4}[bits] * math.prod(each.shape)
    return total


def test_a_looser_bound_is_never_slower(tmp_path):
    found = []
    for bound in (0.0, 2e-4, 1e-2):
        goal = Goal("latency", max_drop=bound)
        request = request_of(tmp_path, goal)
        found.append(tune(request, tmp_path / str(bound), TRIALS, runner=ComputedRunner()))
    latencies = [outcome.best.measured.latency_ms for outcome in found]
    assert latencies == sorted(latencies, reverse=True)
    assert set(found[0].best.precisions) == {"float32"}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_session_interrupted_at_random_moments_ends_with_the_same_records(tmp_path, seed):
    request = request_of(tmp_path)
    whole = tune(request, tmp_path / "whole", TRIALS, runner=ComputedRunner())
    shutil.rmtree(tmp_path / "latencies")
    random, runs = np.random.default_rng(seed), 0
    while True:
        stop = int(random.integers(1, 9))
        runner = ComputedRunner(stopping=lambda number, stop=stop: number == stop)
        parts = tune(request, tmp_path / "parts", TRIALS, runner=runner)
        runs += 1
        if parts.stopped != "interrupted":
            break
        assert parts.best is None or read_manifest(parts.artifact)
    assert runs > 2
    assert told(parts) == told(whole)
    assert read_manifest(parts.artifact) == replace(
        read_manifest(whole.artifact), versions=read_manifest(parts.artifact).versions
    )


def test_a_session_killed_five_times_ends_with_the_same_records(tmp_path):
    request = request_of(tmp_path)
    start = time.monotonic()
    whole = tune(request, tmp_path / "whole", TRIALS, runner=ComputedRunner())
    took = time.monotonic() - start
    shutil.rmtree(tmp_path / "latencies")
    random, context, kills = np.random.default_rng(0), multiprocessing.get_context("fork"), 0
    while kills < 5:
        arguments = (request, tmp_path / "parts", TRIALS)
        run = context.Process(target=tune, args=arguments, kwargs={"runner": ComputedRunner()})
        run.start()
        run.join(random.uniform(0, took / 4))
        kills += run.is_alive()
        run.kill()
        run.join()
        assert run.exitcode in (0, -signal.SIGKILL)
        if run.exitcode == 0:  # it came to its end: once more from the beginning, less patiently
            shutil.rmtree(tmp_path / "parts")
            took, kills = took / 2, 0
    parts = tune(request, tmp_path / "parts", TRIALS, runner=ComputedRunner())
    assert told(parts) == told(whole)
    assert parts.damaged_lines == 0
    assert read_manifest(parts.artifact).latency_ms == read_manifest(whole.artifact).latency_ms


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


def test_a_session_goes_on_where_its_budget_is_raised(tmp_path):
    request = request_of(tmp_path)
    short = tune(request, tmp_path / "s", replace(TRIALS, trials=3), runner=ComputedRunner())
    assert short.stopped == "trials"
    long = tune(request, tmp_path / "s", TRIALS, runner=ComputedRunner())
    assert told(long)[:3] == told(short)
    assert len(long.records) == 10


def test_a_damaged_record_is_counted_and_the_search_goes_on(tmp_path):
    request = request_of(tmp_path)
    tune(request, tmp_path / "s", replace(TRIALS, trials=4), runner=ComputedRunner())
    path = tmp_path / "s" / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    other = lines[2].replace(b'"int7"', b'"int9"')
    assert other != lines[2]
    path.write_bytes(b"".join([lines[0], b"\x00{broken\n", other, lines[3], b'{"trial": 9']))
    outcome = tune(request, tmp_path / "s", replace(TRIALS, trials=5), runner=ComputedRunner())
    assert outcome.damaged_lines == 2
    # The line of trial 1 was broken; as the best it is kept beside its artifact, too.
    assert [record.trial for record in outcome.records] == [0, 3, 1, 4, 5]


def test_a_session_that_lost_its_records_keeps_the_best_until_there_is_a_better_one(tmp_path):
    request = request_of(tmp_path)
    before = tune(request, tmp_path / "s", TRIALS, runner=ComputedRunner())
    manifest = read_manifest(before.artifact)
    (tmp_path / "s" / "records.jsonl").unlink()
    after = tune(request, tmp_path / "s", replace(TRIALS, trials=3), runner=ComputedRunner())
    assert after.records[0] == before.best
    assert after.floats is not None
    assert len(after.records) == 3
    assert after.best == before.best
    assert read_manifest(after.artifact) == manifest


def test_a_cache_that_cannot_be_written_is_refused_before_the_long_work(tmp_path):
    (tmp_path / "file").write_text("")
    request = request_of(tmp_path, cache=tmp_path / "file" / "latencies")
    with pytest.raises(DataError, match=r"latencies: cannot be written(.|\n)*--cache"):
        tune(request, tmp_path / "s", TRIALS, runner=ComputedRunner())
    assert not (tmp_path / "s" / "session.json").exists()


def test_a_best_artifact_that_is_gone_is_built_again(tmp_path):
    request = request_of(tmp_path)
    before = tune(request, tmp_path / "s", TRIALS, runner=ComputedRunner())
    manifest = read_manifest(before.artifact)
    shutil.rmtree(before.artifact.resolve())
    after = tune(request, tmp_path / "s", TRIALS, runner=ComputedRunner())
    assert read_manifest(after.artifact) == manifest


def test_another_model_data_or_recipe_is_another_session(tmp_path):
    request = request_of(tmp_path)
    tune(request, tmp_path / "s", replace(TRIALS, trials=1), runner=ComputedRunner())
    with pytest.raises(DataError, match="its recipe is mse, not kl"):
        tune(replace(request, recipe=("kl",)), tmp_path / "s", TRIALS, runner=ComputedRunner())


def test_a_users_metric_judges(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def score(outputs, samples):\n"
        "    assert len(outputs) == len(samples) == 4\n"
        "    return float(sum(o['y'].sum() for o in outputs))\n"
    )
    request = request_of(tmp_path, metric=f"{tmp_path / 'mine.py'}:score")
    outcome = tune(request, tmp_path / "s", replace(TRIALS, trials=3), runner=ComputedRunner())
    assert outcome.records[0].measured.drop == pytest.approx(0, abs=1e-4)


def test_a_users_metric_that_fails_is_an_error_that_names_it(tmp_path):
    (tmp_path / "mine.py").write_text("def score(outputs, samples):\n    return outputs[99]\n")
    request = request_of(tmp_path, metric=f"{tmp_path / 'mine.py'}:score")
    with pytest.raises(DataError, match="score' failed: IndexError"):
        tune(request, tmp_path / "s", TRIALS, runner=ComputedRunner())


def test_what_was_measured_once_is_not_measured_again(tmp_path):
    request = request_of(tmp_path)
    first, second = ComputedRunner(), ComputedRunner()
    tune(request, tmp_path / "a", replace(TRIALS, trials=3), runner=first)
    outcome = tune(request, tmp_path / "b", replace(TRIALS, trials=3), runner=second)
    assert second.calls == sum(record.measured is not None for record in outcome.records)
    assert second.calls < first.calls


class Watched(ComputedRunner):
    """Notes the schedule that each trial's setting chooses for ``work``."""

    def __init__(self, *work):
        super().__init__()
        self.work, self.chosen = work, []

    def submit(self, call, *args):
        (setting,) = (each for each in args if isinstance(each, Setting))
        self.chosen.append(setting.choose(*self.work))
        return super().submit(call, *args)


def test_kernels_are_cut_as_was_known_to_be_fastest_when_the_session_began(tmp_path):
    winners = open_winners(Cache(tmp_path / "kernels"), load_spec(MACHINE), 1)
    known, raced = product(m=8), product(m=16)
    last = schedules(known[0], winners.machine)[-1]
    winners.keep(*known, Winner(str(last), 2.0, 1.0))
    request = request_of(tmp_path, kernel_cache=tmp_path / "kernels")
    short = replace(TRIALS, trials=2)
    first = Watched(*known)
    tune(request, tmp_path / "s", short, runner=first)
    assert set(first.chosen) == {last}
    winners.keep(*raced, Winner(str(last), 2.0, 1.0))
    resumed, later = Watched(*raced), Watched(*raced)
    tune(request, tmp_path / "s", TRIALS, runner=resumed)
    tune(request, tmp_path / "later", short, runner=later)
    assert set(resumed.chosen) == {None}
    assert set(later.chosen) == {last}
    # Latencies are those of other kernels: they are measured again.
    assert later.calls == first.calls
    # Where templates choose, latencies have nothing to do with the cache.
    plain = replace(request, kernel_cache=None)
    tune(plain, tmp_path / "plain", short, runner=Watched(*known))
    shutil.rmtree(tmp_path / "kernels")
    again = Watched(*known)
    tune(request, tmp_path / "again", short, runner=again)
    assert again.calls < first.calls
    assert set(again.chosen) == {None}


def test_the_outcome_and_the_records_are_json(tmp_path):
    outcome = tune(
        request_of(tmp_path), tmp_path / "s", replace(TRIALS, trials=3), runner=ComputedRunner()
    )
    assert json.loads(json.dumps(outcome.to_json()))["trials"] == 3


def test_noise_is_judged_by_sample_and_never_infinite():
    exact = [{"y": np.array([1.0, 0.0])}, {"y": np.array([100.0, 0.0])}]
    near = [{"y": np.array([1.0, 0.1])}, {"y": np.array([100.0, 10.0])}]
    assert noise_share(near, exact) == pytest.approx(0.01)
    assert noise_share([{"y": np.array([1.0])}], [{"y": np.array([0.0])}]) == 1e6
    with pytest.raises(DataError, match="not finite"):
        noise_share([{"y": np.array([np.nan])}], [{"y": np.array([0.0])}])
