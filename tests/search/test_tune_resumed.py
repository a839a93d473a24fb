"""A search that is stopped, killed or robbed of its files goes on where it was."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from hago.deploy.manifest import read_manifest
from hago.errors import DataError
from hago.hardware.load import load_spec
from hago.lower.select import schedules
from hago.search.cache import Cache
from hago.search.tune import tune
from hago.search.winners import Winner, open_winners
from hago.search.work import Setting
from tests.kernel_search.works import product
from tests.search.stand_ins import MACHINE, TRIALS, ComputedRunner, request_of, told

pytestmark = pytest.mark.usefixtures("prepared_once")


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


def test_a_session_goes_on_where_its_budget_is_raised(tmp_path):
    request = request_of(tmp_path)
    short = tune(request, tmp_path / "s", replace(TRIALS, trials=3), runner=ComputedRunner())
    assert short.stopped == "trials"
    long = tune(request, tmp_path / "s", TRIALS, runner=ComputedRunner())
    assert told(long)[:3] == told(short)
    assert len(long.records) == 10


def test_a_damaged_record_is_counted_and_the_search_goes_on(tmp_path):
    request = request_of(tmp_path)
    before = tune(request, tmp_path / "s", replace(TRIALS, trials=4), runner=ComputedRunner())
    best = before.best.trial
    other = next(n for n in (2, 3) if n != best)  # both have paired weights
    path = tmp_path / "s" / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    renamed = lines[other].replace(b'"int8_pairs"', b'"int9_pairs"')
    assert renamed != lines[other]
    lines[best], lines[other] = b"\x00{broken\n", renamed
    path.write_bytes(b"".join([*lines, b'{"trial": 9']))
    outcome = tune(request, tmp_path / "s", replace(TRIALS, trials=5), runner=ComputedRunner())
    assert outcome.damaged_lines == 2
    # The line of the best trial was broken; it is kept beside its artifact, too.
    whole = [number for number in range(4) if number not in (best, other)]
    assert [record.trial for record in outcome.records] == [*whole, best, 4, 5]


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


def test_what_was_measured_once_is_not_measured_again(tmp_path):
    request = request_of(tmp_path)
    first, second = ComputedRunner(), ComputedRunner()
    tune(request, tmp_path / "a", replace(TRIALS, trials=4), runner=first)
    outcome = tune(request, tmp_path / "b", replace(TRIALS, trials=4), runner=second)
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
    short = replace(TRIALS, trials=4)
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
