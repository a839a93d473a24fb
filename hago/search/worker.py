"""The program of a worker process: calls come in on stdin, results go out on stdout, pickled."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import IO, Any

from hago.search.runner import HEADER

_SET_PARENT_DEATH_SIGNAL = 1  # linux/prctl.h


def main(threads: int) -> None:
    """Serves calls until stdin ends. Interrupts are for the parent, which ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    _pin(threads)
    calls = sys.stdin.buffer
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the results
    while header := calls.read(HEADER.size):
        _serve(calls.read(*HEADER.unpack(header)), results)


def _serve(message: bytes, results: IO[bytes]) -> None:
    answer = pickle.dumps(outcome_of(_called, message))
    results.write(HEADER.pack(len(answer)) + answer)
    results.flush()


def _called(message: bytes) -> object:
    call, args = pickle.loads(message)
    return call(*args)


def outcome_of(call: Callable[..., object], *args: object) -> tuple[bool, Any]:
    """True and the result, or False and why there is none: a failure of a trial, or of what a
    user wrote, whatever it is, is told by whoever knows what was tried."""
    try:
        return True, call(*args)
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"


def _die_with_parent() -> None:
    """A search that was killed cannot end its worker any more: the kernel does (prctl(2))."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _pin(threads: int) -> None:
    """To the last CPUs of those that may be used: the first ones serve interrupts. 0 is all."""
    if not threads:
        return
    os.environ["TVM_NUM_THREADS"] = str(threads)
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, available[-threads:])


if __name__ == "__main__":
    main(int(sys.argv[1]))
