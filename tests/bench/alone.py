"""A contestant in a process of its own: how long it takes to load, and how much memory.

The process imports the runtime and says so; from then to the first result, its memory is looked at
every millisecond. What counts are its own pages (RssAnon): unchanged pages of files are the
system's to take back, and processes share them.
"""

from __future__ import annotations

import json
import pickle
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.contestant import Alone, Entry, Name, Task

_LOADS = 3  # that are timed, behind one whose memory is watched
_EVERY_S = 0.001


def measure_alone(name: Name, task: Task, prepared: Path) -> Alone:
    """The entry ``name`` of the module ``tests.bench.RUNTIME_entries``, in a new process.

    Raises RuntimeError where it fails there.
    """
    with tempfile.NamedTemporaryFile(prefix="hago-bench-") as file:
        pickle.dump((name, task, prepared), file)
        file.flush()
        told, peak = watch([sys.executable, "-m", "tests.bench.alone", file.name])
    return Alone(**told, peak_private=peak)


def watch(command: Sequence[str]) -> tuple[dict[str, Any], int]:
    """What a process tells in JSON on its last line, and the most bytes that it grew by between
    :func:`begin` and :func:`end`, which it calls. Raises RuntimeError where it fails."""
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with tempfile.TemporaryFile("w+") as errors, subprocess.Popen(
        command, stderr=errors, text=True, **pipes
    ) as child:  # fmt: skip
        child.stdout.readline()
        first = most = private_bytes(child.pid)
        child.stdin.close()
        while not select.select([child.stdout], [], [], _EVERY_S)[0]:
            most = max(most, private_bytes(child.pid))
        told = child.stdout.read().splitlines()
        if child.wait():
            errors.seek(0)
            raise RuntimeError(_error_of(errors.read()))
    return json.loads(told[-1]), max(most, int(told[0])) - first


def _error_of(text: str) -> str:
    """The error at the end of a traceback; its own further lines are indented."""
    lines = (line for line in reversed(text.splitlines()) if line and not line[0].isspace())
    return next(lines, "it was ended")


def begin() -> None:
    """Of a process that is watched, when all is imported: waits until somebody watches."""
    print("begin", flush=True)
    sys.stdin.read()


def end() -> None:
    """Of a process that is watched: nothing after this counts."""
    print(private_bytes(), flush=True)


def private_bytes(process: int | str = "self") -> int:
    """Memory of a process that is no file's; 0 where it has ended."""
    return status_bytes("RssAnon", process)


def status_bytes(field: str, process: int | str = "self") -> int:
    """A size in /proc/PROCESS/status."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))


def time_load(load: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds on the clock and of the CPU; what was loaded is let go after that."""
    wall, cpu = time.perf_counter(), time.process_time()
    kept = load()
    times = (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3
    del kept
    return times


def _measure(name: Name, task: Task, prepared: Path) -> dict[str, float]:
    entries: Sequence[Entry] = import_module(f"tests.bench.{name.runtime}_entries").ENTRIES
    (entry,) = (each for each in entries if each.name == name)

    def first_result() -> object:
        run = entry.load(task, prepared)
        run()
        return run

    entry.start()
    begin()
    before = private_bytes()
    kept = first_result()
    private = private_bytes() - before
    end()
    del kept
    times = [time_load(first_result) for _ in range(_LOADS)]
    walls, cpus = zip(*times, strict=True)
    return {"load_ms": median(walls), "load_cpu_ms": median(cpus), "private": private}


if __name__ == "__main__":
    print(json.dumps(_measure(*pickle.loads(Path(sys.argv[1]).read_bytes()))))
