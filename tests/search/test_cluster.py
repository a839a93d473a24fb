"""Accuracy on two workers on loopback, which crash, hang and are lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from distributed import LocalCluster

from hago.annotate import annotate
from hago.hardware.load import load_spec
from hago.search import cluster as cluster_module
from hago.search.cluster import ClusterRunner, spread
from hago.search.evaluate import build_simulation
from hago.search.goal import Goal
from hago.search.request import Effort
from hago.search.runner import TrialError
from hago.search.tracker import DeviceError
from hago.search.tune import tune
from tests.graphs import Builder, input_for
from tests.search.acts import noted, once, process_id, raise_it
from tests.search.stand_ins import ComputedRunner, numbers_of, request_of


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two processes of one thread each; a worker that is killed comes back."""
    made = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=50,
    )
    yield made
    made.close()


@pytest.fixture
def runner(cluster) -> Iterator[ClusterRunner]:
    made = ClusterRunner(cluster.scheduler_address, limit_s=60)
    yield made
    made.close()


def test_calls_run_on_both_workers(runner):
    assert runner.slots == 2
    futures = [runner.submit(process_id) for _ in range(20)]
    processes = {future.result() for future in futures}
    assert os.getpid() not in processes
    assert len(processes) == 2


def test_an_exception_is_told_and_not_tried_again(runner):
    with pytest.raises(TrialError, match="raise_it: failed\n  ValueError: no good"):
        runner.submit(raise_it, "no good").result()


def test_a_worker_killed_in_the_middle_loses_no_call_and_counts_none_twice(runner, tmp_path):
    victim = runner.submit(process_id).result()
    futures = [runner.submit(noted, str(tmp_path), number, 0.1) for number in range(20)]
    while not any(future.done() for future in futures):
        time.sleep(0.01)
    os.kill(victim, signal.SIGKILL)
    assert [future.result() for future in futures] == [2 * number for number in range(20)]
    ended = sorted(int(path.name.partition("-")[0]) for path in tmp_path.iterdir())
    assert set(ended) == set(range(20))


@pytest.mark.parametrize("act", ["crash", "hang"])
def test_what_crashes_or_hangs_a_worker_runs_on_another(runner, tmp_path, act):
    if act == "hang":
        runner._limit_s = 3.0
    assert runner.submit(once, str(tmp_path), act).result() == "elsewhere"


def test_closing_ends_the_call_under_way(cluster):
    runner = ClusterRunner(cluster.scheduler_address)
    future = runner.submit(time.sleep, 2)
    time.sleep(0.2)
    runner.close()
    assert isinstance(future.exception(timeout=10), TrialError)


def test_outputs_are_those_of_one_computer(runner):
    b = Builder(1, 6, 6, 8)
    module = b.done(b.conv("conv2d", b.input, 8, padding=1))
    main = module["main"].with_attr("hago.input_names", ["x"])
    module["main"] = main.with_attr("hago.output_names", ["y"])
    numbers = numbers_of(annotate(module, load_spec("x86-avx2")))
    samples = [input_for(module, seed=seed) for seed in range(5)]
    here, there = build_simulation(numbers), spread(runner, numbers)
    for assignment in [(0,), (1,), (2,)]:
        expected, found = here(assignment, samples), there(assignment, samples)
        assert len(found) == 5
        for left, right in zip(expected, found, strict=True):
            assert np.array_equal(left["y"], right["y"])


def test_a_search_that_loses_a_worker_ends_as_one_that_does_not(cluster, runner, tmp_path):
    request = request_of(tmp_path, Goal("latency", max_drop=5e-4))
    effort = Effort(1e6, trials=6, seed=3)
    alone = tune(request, tmp_path / "alone", effort, runner=ComputedRunner())
    lost = []

    def lose_one(outcome):
        if len(outcome.records) == 3 and not lost:
            lost.append(runner.submit(process_id).result())
            os.kill(lost[0], signal.SIGKILL)

    both = replace(request, cluster=cluster.scheduler_address)
    outcome = tune(both, tmp_path / "s", effort, runner=ComputedRunner(), watch=lose_one)
    assert lost
    told = [[replace(r, seconds=0) for r in each.records] for each in (alone, outcome)]
    assert told[0] == told[1]


def test_without_a_scheduler_the_search_ends_with_an_error(monkeypatch):
    monkeypatch.setattr(cluster_module, "_CONNECT_S", 0.5)
    with pytest.raises(DeviceError, match="no scheduler"):
        ClusterRunner("127.0.0.1:9")
