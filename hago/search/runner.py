"""Where trials run: in a process of their own, so that none can take the search down.

The interface is that of ``concurrent.futures``: a pool on other machines fits behind it.
"""

from __future__ import annotations

import os
import pickle
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from hago.errors import BuildError
from hago.search.disk import check_room

T = TypeVar("T")
HEADER = struct.Struct("<Q")  # the length of a message, before it
_TOLD = 2000  # characters of a dead worker's last words


class TrialError(BuildError):
    """A trial crashed, hung, or raised: a fact about the trial, not about the search."""


class Runner(Protocol):
    """Runs module-level functions on arguments that can be pickled, ``slots`` at a time."""

    @property
    def slots(self) -> int:
        """How many calls run at a time."""

    def submit(self, call: Callable[..., T], *args: object) -> Future[T]:
        """The result to come; it raises TrialError where the call does not give one, DiskError
        where there was no room for it."""

    def close(self) -> None:
        """Ends what is running."""


class LocalRunner:
    """One worker process on ``threads`` CPUs, started when needed and anew after a failure.

    A call that takes longer than ``limit_s`` seconds is killed. Where ``threads`` is None the
    process may use every CPU: it does not measure.
    """

    slots = 1

    def __init__(self, limit_s: float = 300.0, threads: int | None = 1) -> None:
        self._limit_s, self._threads = limit_s, threads
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hago-runner")
        self._worker: _Worker | None = None
        self._latest: Future[Any] | None = None

    def submit(self, call: Callable[..., T], *args: object) -> Future[T]:
        future = self._pool.submit(self._run, call, args)
        self._latest = future
        return future

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        while self._latest is not None and not self._latest.done():
            worker = self._worker
            if worker is not None:
                worker.process.kill()  # the thread that waits for it sees its end
            wait([self._latest], timeout=0.05)
        self._pool.shutdown(wait=True)
        self._end()

    def _run(self, call: Callable[..., T], args: tuple[object, ...]) -> T:
        what = call.__name__
        if self._worker is None:
            self._worker = _Worker(self._threads)
        try:
            answer = self._worker.answer(pickle.dumps((call, args)), self._limit_s)
        except TimeoutError as error:
            self._end()
            fact = f"no result after {self._limit_s:g} s"
            raise TrialError(f"{what}: hung", fact=fact, way_out="Raise --trial-limit.") from error
        except (OSError, EOFError) as error:
            fact = self._worker.last_words()
            self._end()
            check_room(what, fact)
            raise TrialError(f"{what}: the worker died", fact=fact) from error
        is_result, value = pickle.loads(answer)
        if not is_result:
            check_room(what, value)
            raise TrialError(f"{what}: failed", fact=value)
        return value

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None


class _Worker:
    """A process that serves calls, its pipes, and what it writes to stderr."""

    def __init__(self, threads: int | None) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hago.search.worker", str(threads or 0)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def answer(self, message: bytes, limit_s: float) -> bytes:
        """What the worker says to ``message``. Raises EOFError, OSError, TimeoutError."""
        calls, results = self.process.stdin, self.process.stdout
        assert calls is not None
        assert results is not None
        end = time.monotonic() + limit_s
        calls.write(HEADER.pack(len(message)) + message)
        calls.flush()
        (length,) = HEADER.unpack(_read(results.fileno(), HEADER.size, end))
        return _read(results.fileno(), length, end)

    def last_words(self) -> str:
        """How the worker ended, and the end of what it wrote to stderr."""
        code = self.process.wait()
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()[-_TOLD:]
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{ended}: {text}" if text else ended

    def end(self) -> None:
        """Kills the process and closes everything."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            assert stream is not None
            with suppress(BrokenPipeError):  # a message that it did not read
                stream.close()


def _read(handle: int, count: int, end: float) -> bytes:
    """``count`` bytes of a pipe. Raises TimeoutError after ``end``, EOFError at its end."""
    parts: list[bytes] = []
    while count:
        ready, _, _ = select.select([handle], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise TimeoutError
        part = os.read(handle, min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
