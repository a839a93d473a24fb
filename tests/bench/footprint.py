"""``python -m tests.bench.footprint ARTIFACT...``: what loading an artifact takes, and memory.

Each is loaded in a process of its own that has done nothing else, by TVM's small runtime. Memory
is what the process grew by. After the first run its own pages count, without those of the library's
file: they are unchanged, so that the system takes them back when it needs them, and processes share
them. At the peak all pages count. It is while the library is read: TVM copies constants twice
before they are tensors.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

_MEBI = 1 << 20
_REPEATS = 5


@dataclass(frozen=True)
class Footprint:
    """``import_ms`` of the runtime, ``load_ms`` and ``cpu_ms`` of the artifact (the fastest of a
    few), the first run; bytes of constants, and what the process grew by: ``loaded`` after loading,
    ``resident`` after a run, ``peak`` at most.
    """

    import_ms: float
    load_ms: float
    cpu_ms: float
    first_run_ms: float
    constants: int
    loaded: int
    resident: int
    peak: int

    @property
    def run(self) -> int:
        """Bytes that the run added: activations, inputs, results."""
        return self.resident - self.loaded


def footprint(folder: Path, *before: Path) -> Footprint:
    """That of the artifact ``folder`` in a new process, which ran those ``before`` it: memory that
    the runtime takes once is not counted then."""
    folders = map(str, (*before, folder))
    command = [sys.executable, "-m", "tests.bench.footprint", "--here", *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Footprint(**json.loads(done.stdout))


def _measure(folder: str, before: Sequence[str] = ()) -> Footprint:
    start = time.perf_counter()
    from hago.deploy.bench import random_sample
    from hago.deploy.load import load
    from hago.deploy.runtime import load_runtime

    load_runtime()
    imported = time.perf_counter() - start
    for other in map(load, before):
        other.run(random_sample(other.inputs))
    first, most = _status("RssAnon"), _status("VmHWM")
    model, loaded = load(folder), _status("RssAnon")
    sample = random_sample(model.inputs)
    start = time.perf_counter()
    model.run(sample)
    first_run = time.perf_counter() - start
    resident, peak = _status("RssAnon"), _status("VmHWM")
    times = [_timed_load(lambda: load(folder)) for _ in range(_REPEATS)]
    return Footprint(
        import_ms=imported * 1e3,
        load_ms=min(wall for wall, _ in times) * 1e3,
        cpu_ms=min(cpu for _, cpu in times) * 1e3,
        first_run_ms=first_run * 1e3,
        constants=model.manifest.constants.get("stored", 0),
        loaded=loaded - first,
        resident=resident - first,
        peak=peak - most,
    )


def _timed_load(load: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of the CPU; what was loaded is let go after that."""
    wall, cpu = time.perf_counter(), time.process_time()
    kept = load()
    times = time.perf_counter() - wall, time.process_time() - cpu
    del kept
    return times


def _status(field: str) -> int:
    """A size in /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (kibibytes,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(kibibytes) << 10


def _show(folders: list[str]) -> None:
    table = Table()
    columns = ("artifact", "import ms", "load ms", "CPU ms", "first run ms", "constants MiB",
               "loaded MiB", "after a run MiB", "peak MiB")  # fmt: skip
    for column in columns:
        table.add_column(column, justify="left" if column == "artifact" else "right")
    for folder in folders:
        found = footprint(Path(folder))
        times = (found.import_ms, found.load_ms, found.cpu_ms, found.first_run_ms)
        sizes = (found.constants, found.loaded, found.resident, found.peak)
        cells = (*times, *(size / _MEBI for size in sizes))
        table.add_row(Path(folder).name, *(f"{cell:.1f}" for cell in cells))
    Console().print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        print(json.dumps(asdict(_measure(sys.argv[-1], sys.argv[2:-1]))))
    else:
        _show(sys.argv[1:])
