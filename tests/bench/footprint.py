"""``python -m tests.bench.footprint ARTIFACT...``: what loading an artifact takes, and memory.

Each is loaded in a process of its own that has done nothing else, by TVM's small runtime. Memory
is what the process grew by, its own pages alone (see ``tests.bench.alone``); "resident" counts
those of the library's file, too, where the constants are.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.alone import begin, end, private_bytes, status_bytes, time_load, watch

_MEBI = 1 << 20
_REPEATS = 5


@dataclass(frozen=True)
class Footprint:
    """``import_ms`` of the runtime, ``load_ms`` and ``cpu_ms`` of the artifact (the fastest of a
    few), the first run; bytes of constants, and what the process grew by: ``loaded`` after loading,
    ``private`` after a run, ``peak`` at most, and ``resident`` at most with the library's pages.
    """

    import_ms: float
    load_ms: float
    cpu_ms: float
    first_run_ms: float
    constants: int
    loaded: int
    private: int
    resident: int
    peak: int

    @property
    def run(self) -> int:
        """Bytes that the run added: activations, inputs, results."""
        return self.private - self.loaded


def footprint(folder: Path, *before: Path) -> Footprint:
    """That of the artifact ``folder`` in a new process, which ran those ``before`` it: memory that
    the runtime takes once is not counted then."""
    folders = map(str, (*before, folder))
    told, peak = watch([sys.executable, "-m", "tests.bench.footprint", "--here", *folders])
    return Footprint(**told, peak=peak)


def _measure(folder: str, before: Sequence[str] = ()) -> dict[str, float]:
    start = time.perf_counter()
    from hago.deploy.bench import random_sample
    from hago.deploy.load import load
    from hago.deploy.runtime import load_runtime

    load_runtime()
    imported = time.perf_counter() - start
    for other in map(load, before):
        other.run(random_sample(other.inputs))
    begin()
    first, most = private_bytes(), status_bytes("VmHWM")
    model, loaded = load(folder), private_bytes()
    sample = random_sample(model.inputs)
    start = time.perf_counter()
    model.run(sample)
    first_run = time.perf_counter() - start
    private, resident = private_bytes(), status_bytes("VmHWM")
    end()
    walls, cpus = zip(*(time_load(lambda: load(folder)) for _ in range(_REPEATS)), strict=True)
    return {
        "import_ms": imported * 1e3,
        "load_ms": min(walls),
        "cpu_ms": min(cpus),
        "first_run_ms": first_run * 1e3,
        "constants": model.manifest.constants.get("stored", 0),
        "loaded": loaded - first,
        "private": private - first,
        "resident": resident - most,
    }


def _show(folders: list[str]) -> None:
    table = Table()
    columns = ("artifact", "import ms", "load ms", "CPU ms", "first run ms", "constants MiB",
               "loaded MiB", "after a run MiB", "peak MiB", "resident MiB")  # fmt: skip
    for column in columns:
        table.add_column(column, justify="left" if column == "artifact" else "right")
    for folder in folders:
        found = footprint(Path(folder))
        times = (found.import_ms, found.load_ms, found.cpu_ms, found.first_run_ms)
        sizes = (found.constants, found.loaded, found.private, found.peak, found.resident)
        cells = (*times, *(size / _MEBI for size in sizes))
        table.add_row(Path(folder).name, *(f"{cell:.1f}" for cell in cells))
    Console().print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        print(json.dumps(_measure(sys.argv[-1], sys.argv[2:-1])))
    else:
        _show(sys.argv[1:])
