"""A tracker and devices on loopback, as processes that a test can kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hago.search.tracker import DeviceError, Tracker
from tests.cli.program import ROOT

HERE = "127.0.0.1"
_PORTS = (19190, 19390)


def _start(*arguments: str) -> subprocess.Popen[bytes]:
    """A Python program in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TVM_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a program with all that it started, as a power cut does."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


_TRACKER = f"""
import time
from tvm.rpc.tracker import Tracker
tracker = Tracker("{HERE}", port={_PORTS[0]}, port_end={_PORTS[1]}, silent=True)
print(tracker.port, flush=True)
tracker.proc.join()
"""


@contextmanager
def started_tracker() -> Iterator[tuple[str, int]]:
    """The address of a tracker of its own."""
    process = _start("-c", _TRACKER)
    try:
        assert process.stdout is not None
        yield HERE, int(process.stdout.readline())
    finally:
        kill(process)


def start_device(tracker: Tracker) -> subprocess.Popen[bytes]:
    """A device of ``tracker``, about to register."""
    address = f"{tracker.host}:{tracker.port}"
    options = ("--tracker", address, "--key", tracker.key, "--host", HERE)
    return _start("-m", "hago", "serve", *options)


def wait_for(tracker: Tracker, count: int, limit_s: float = 180.0) -> None:
    """Until that many devices are registered."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            if tracker.registered()[0] == count:
                return
        except DeviceError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{tracker.registered()[0]} devices, not {count}")
