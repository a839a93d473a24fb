"""The worker process: results, failures, crashes and hangs."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hago.search.disk import DiskError
from hago.search.runner import LocalRunner, TrialError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runner() -> Iterator[LocalRunner]:
    made = LocalRunner(limit_s=60)
    yield made
    made.close()


def double(value: int) -> int:
    return 2 * value


def talk(value: int) -> int:
    print("noise on stdout", flush=True)
    os.write(1, b"more of it\n")
    return value


def raise_it(text: str) -> None:
    raise ValueError(text)


def crash() -> None:
    os.write(2, b"last words\n")
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
    time.sleep(1000)


def process_id() -> int:
    return os.getpid()


def usable_cpus() -> int:
    return len(os.sched_getaffinity(0))


def test_calls_run_in_one_other_process_in_order(runner: LocalRunner) -> None:
    futures = [runner.submit(double, number) for number in range(3)]
    assert [future.result() for future in futures] == [0, 2, 4]
    first, second = runner.submit(process_id).result(), runner.submit(process_id).result()
    assert first == second != os.getpid()


def test_the_worker_is_pinned_to_the_cpus_it_may_use(runner: LocalRunner) -> None:
    assert runner.submit(usable_cpus).result() == 1


def test_what_a_call_prints_does_not_disturb_its_result(runner: LocalRunner) -> None:
    assert runner.submit(talk, 7).result() == 7


def test_an_exception_is_told_and_the_worker_goes_on(runner: LocalRunner) -> None:
    first = runner.submit(process_id).result()
    with pytest.raises(TrialError, match="raise_it: failed\n  ValueError: no good"):
        runner.submit(raise_it, "no good").result()
    assert runner.submit(process_id).result() == first


def test_a_full_disk_is_no_fault_of_the_trial(runner: LocalRunner) -> None:
    with pytest.raises(DiskError, match=r"raise_it: no room on a disk(.|\n)*Make room"):
        runner.submit(raise_it, f"ld: final link failed: {os.strerror(errno.ENOSPC)}").result()


def test_a_crash_is_told_with_its_signal_and_last_words(runner: LocalRunner) -> None:
    with pytest.raises(TrialError, match=f"signal {signal.SIGSEGV.value}: last words"):
        runner.submit(crash).result()
    assert runner.submit(double, 4).result() == 8


def test_a_hang_is_ended_at_its_limit() -> None:
    runner = LocalRunner(limit_s=60)
    first = runner.submit(process_id).result()
    runner._limit_s = 0.2  # from here on: starting the process takes longer
    with pytest.raises(TrialError, match=r"hang: hung\n  no result after 0.2 s"):
        runner.submit(hang).result()
    runner._limit_s = 60
    assert runner.submit(process_id).result() != first
    runner.close()


def test_a_worker_does_not_outlive_a_killed_search() -> None:
    script = (
        "from hago.search.runner import LocalRunner; from tests.search.test_runner import *;"
        "runner = LocalRunner(); print(runner.submit(process_id).result(), flush=True);"
        "runner.submit(hang).result()"
    )
    search = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert search.stdout is not None
    worker = int(search.stdout.readline())
    search.kill()
    search.communicate()
    end = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not Path(f"/proc/{worker}").exists()


def test_closing_ends_the_call_under_way() -> None:
    runner = LocalRunner(limit_s=60)
    process = runner.submit(process_id).result()
    future = runner.submit(hang)
    while not future.running():
        time.sleep(0.01)
    runner.close()
    assert isinstance(future.exception(timeout=10), TrialError)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
