"""Trials on devices behind a tracker: two on loopback, which crash, hang and are lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tvm import ir

from hago.hardware.host import cpu_features, host_spec
from hago.lower.build import build
from hago.lower.linker import linker_for
from hago.lower.lower import lower
from hago.search import rpc_runner
from hago.search.goal import Goal
from hago.search.identity import cpu_name
from hago.search.remote import Job, segment_result
from hago.search.request import Effort
from hago.search.rpc_runner import RpcRunner
from hago.search.runner import TrialError
from hago.search.session_files import read_session
from hago.search.tracker import DeviceError, Tracker, describe
from hago.search.tune import tune
from hago.search.work import Setting, random_inputs, time_segment
from tests.graphs import Builder
from tests.search.laboratory import kill, start_device, started_tracker, wait_for
from tests.search.stand_ins import request_of


@pytest.fixture(scope="module")
def tracker() -> Iterator[Tracker]:
    with started_tracker() as (host, port):
        yield Tracker(host, port, "box")


@pytest.fixture(scope="module")
def devices(tracker):
    """Two devices; the last test that has them ends one."""
    found = [start_device(tracker) for _ in range(2)]
    wait_for(tracker, 2)
    yield found
    for device in found:
        if device.poll() is None:
            kill(device)


@pytest.fixture(scope="module")
def runner(tracker, devices):
    """Its processes have started, so that a limit of seconds can be set on what follows."""
    made = RpcRunner(tracker, limit_s=120)
    warm = [made.submit(time_segment, product(), Setting(host_spec())) for _ in range(made.slots)]
    assert all(future.result() > 0 for future in warm)
    yield made
    made.close()


def product() -> ir.IRModule:
    """A float32 convolution, realized: there is nothing quantized in it."""
    b = Builder(1, 6, 6, 8)
    return b.done(b.conv("conv2d", b.input, 8, padding=1))


def given_job(job: Job) -> Job:
    """What was built before."""
    return job


def trapped(folder: Path, trap: str) -> Job:
    """The product in a library that does ``trap`` once, where it is first loaded."""
    (folder / "trap.c").write_text(
        f"""#include <fcntl.h>
        #include <stdlib.h>
        #include <unistd.h>
        __attribute__((constructor)) void spring(void) {{
            if (open("{folder}/sprung", O_CREAT | O_EXCL, 0600) >= 0) {trap};
        }}"""
    )
    command = ["cc", "-fPIC", "-c", "trap.c", "-o", "trap.o"]
    subprocess.run(command, cwd=folder, check=True)
    spec, module = host_spec(), product()
    built = build(lower(module, spec), spec)
    path = folder / "trapped.so"
    built.export_library(
        str(path), fcompile=linker_for(spec.triple), addons=[str(folder / "trap.o")]
    )
    return Job(path.read_bytes(), (), tuple(random_inputs(module)), 0.05, 1)


@pytest.mark.parametrize("trap", ["abort()", "sleep(1000)"])
def test_a_trial_that_ends_a_device_runs_on_another(
    runner, tracker, tmp_path, monkeypatch, trap
):
    halves = rpc_runner.Halves(given_job, segment_result)
    monkeypatch.setitem(rpc_runner._CALLS, given_job, halves)
    job = trapped(tmp_path, trap)
    for hand in runner._all:
        monkeypatch.setattr(hand, "_limit_s", 8.0)  # all that a hang costs
    assert runner.submit(given_job, job).result() > 0
    assert (tmp_path / "sprung").exists()
    wait_for(tracker, 2)


def test_what_fails_on_two_devices_is_the_trials_fault(runner, monkeypatch):
    halves = rpc_runner.Halves(given_job, segment_result)
    monkeypatch.setitem(rpc_runner._CALLS, given_job, halves)
    broken = Job(b"no library", (), (), 0.05, 1)
    with pytest.raises(TrialError, match="given_job: failed on 2 devices"):
        runner.submit(given_job, broken).result()
    assert runner.submit(time_segment, product(), Setting(host_spec())).result() > 0


def test_a_machine_that_the_devices_are_not_is_refused(tracker, devices, tmp_path):
    assert describe(tracker).features == cpu_features()
    spec = replace(host_spec(), features=("sve2",))
    assert describe(tracker).lacks(spec) == ("sve2",)


def test_without_a_device_or_a_tracker_the_search_ends_with_an_error(tracker):
    with pytest.raises(DeviceError, match=r"no device\n  none has been registered for 0.2 s"):
        Tracker(tracker.host, tracker.port, "nobody").wait(0.2)
    with pytest.raises(DeviceError, match="no tracker"):
        Tracker(tracker.host, 9, "box").wait(0.2)


def test_a_search_that_loses_a_device_has_every_trial_once(tracker, devices, tmp_path):
    # No precision for all groups keeps this bound, so a later trial is timed, after the loss.
    request = replace(request_of(tmp_path, Goal("latency", max_drop=2e-4)), tracker=tracker)
    lost = []

    def lose_one(outcome):
        if len(outcome.records) == 1 and not lost:
            lost.append(devices[0])
            kill(devices[0])

    outcome = tune(request, tmp_path / "s", Effort(1e6, trials=6, seed=3), watch=lose_one)
    assert lost
    assert [record.trial for record in outcome.records] == list(range(6))
    assert len({record.precisions for record in outcome.records}) == 6
    assert [record.error for record in outcome.records] == [""] * 6
    assert any(record.is_timed for record in outcome.records[1:])
    assert outcome.floats.measured.noise < 1e-9
    about, _, _ = read_session(tmp_path / "s")
    assert about["identity"]["machine"] == cpu_name()
