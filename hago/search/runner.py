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
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Protocol, TypeVar

from hago.errors import BuildError

T = TypeVar("T")
HEADER = struct.Struct("<Q")  # the length of a message, before it
_TOLD = 2000  # characters of a dead worker's last words


class TrialError(BuildError):
    """A trial crashed, hung, or raised: a fact about the trial, not about the search."""


class Runner(Protocol):
    """Runs module-level functions on arguments that can be pickled."""

    def submit(self, call: Callable[..., T], *args: object) -> Future[T]:
        """The result to come; it raises TrialError where the call does not give one."""

    def close(self) -> None:
        """Ends what is running."""


class LocalRunner:
    """One worker process on ``threads`` CPUs, started when needed and anew after a failure.

    A call that takes longer than ``limit_s`` seconds is killed.
    """

    def __init__(self, limit_s: float = 300.0, threads: int = 1) -> None:
        self._limit_s, self._threads = limit_s, threads
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hago-runner")
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def submit(self, call: Callable[..., T], *args: object) -> Future[T]:
        return self._pool.submit(self._run, call, args)

    def close(self) -> None:
        self._kill()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._kill()

    def _run(self, call: Callable[..., T], args: tuple[object, ...]) -> T:
        what = call.__name__
        process = self._started()
        assert process.stdin is not None
        try:
            message = pickle.dumps((call, args))
            process.stdin.write(HEADER.pack(len(message)) + message)
            process.stdin.flush()
            is_result, value = pickle.loads(self._receive(process, time.monotonic()))
        except TimeoutError as error:
            self._kill()
            fact = f"no result after {self._limit_s:g} s"
            raise TrialError(f"{what}: hung", fact=fact, way_out="Raise --trial-limit.") from error
        except (OSError, EOFError) as error:
            raise TrialError(f"{what}: the worker died", fact=self._last_words()) from error
        if not is_result:
            raise TrialError(f"{what}: failed", fact=value)
        return value

    def _receive(self, process: subprocess.Popen[bytes], start: float) -> bytes:
        assert process.stdout is not None
        end = start + self._limit_s
        (length,) = HEADER.unpack(_read(process.stdout.fileno(), HEADER.size, end))
        return _read(process.stdout.fileno(), length, end)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hago.search.worker", str(self._threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        return self._process

    def _last_words(self) -> str:
        """How the worker ended, and the end of what it wrote to stderr."""
        assert self._process is not None
        assert self._errors is not None
        code = self._process.wait()
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()[-_TOLD:]
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{ended}: {text}" if text else ended

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


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
