"""Trials on devices behind TVM's RPC tracker, as many at a time as there are devices."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from hago.search.remote import (
    Done,
    Job,
    artifact_job,
    artifact_result,
    run_job,
    segment_job,
    segment_result,
)
from hago.search.runner import LocalRunner, TrialError
from hago.search.tracker import Tracker
from hago.search.work import time_segment, verify

T = TypeVar("T")
_DEVICES = 2  # on which a trial must fail before it is the trial's fault


@dataclass(frozen=True)
class Halves:
    """A call in two: what is built here, and what becomes of what the device did."""

    build: Callable[..., Job]
    result: Callable[..., Any]


_CALLS: dict[object, Halves] = {
    time_segment: Halves(segment_job, segment_result),
    verify: Halves(artifact_job, artifact_result),
}


class RpcRunner:
    """One local process for each device: it builds, and waits for the device.

    A device that hangs, crashes or is lost costs a process and ``limit_s`` seconds; the trial then
    has a second device. Calls that need no device run in the local process. Raises DeviceError
    where there is no device.
    """

    def __init__(self, tracker: Tracker, limit_s: float = 300.0) -> None:
        self._tracker, self._limit_s = tracker, limit_s
        self.slots = tracker.wait()
        self._hands: SimpleQueue[LocalRunner] = SimpleQueue()
        self._all = [LocalRunner(limit_s, threads=None) for _ in range(self.slots)]
        for hand in self._all:
            self._hands.put(hand)
        self._pool = ThreadPoolExecutor(self.slots, thread_name_prefix="hago-rpc")
        self._is_closing = False

    def submit(self, call: Callable[..., T], *args: object) -> Future[T]:
        return self._pool.submit(self._run, call, args)

    def close(self) -> None:
        self._is_closing = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        for hand in self._all:
            hand.close()
        self._pool.shutdown(wait=True)

    def _run(self, call: Callable[..., T], args: tuple[object, ...]) -> T:
        halves = _CALLS.get(call)
        if halves is None:
            return self._here(call, *args)
        return halves.result(self._done(call.__name__, self._here(halves.build, *args)), *args)

    def _here(self, call: Callable[..., T], *args: object) -> T:
        """``call`` in a local process: the one that is idle for the longest time."""
        hand = self._hands.get()
        try:
            return hand.submit(call, *args).result()
        finally:
            self._hands.put(hand)

    def _done(self, what: str, job: Job) -> Done:
        """Raises TrialError where two devices failed, DeviceError where there is none."""
        failures: list[str] = []
        while len(failures) < _DEVICES and not self._is_closing:
            self._tracker.wait()
            try:
                return self._here(run_job, self._tracker, job, self._limit_s)
            except TrialError as error:
                failures.append(str(error).replace("\n ", ""))
        raise TrialError(f"{what}: failed on {len(failures)} devices", fact="; ".join(failures))
