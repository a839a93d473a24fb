"""One model on all contestants, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.bench.alone import measure_alone
from tests.bench.contestant import Absent, Alone, Contestant, Entry, Name, Task
from tests.bench.timing import Spread, take_turns

Measure = Callable[[Name, Task, Path], Alone]


@dataclass(frozen=True)
class Row:
    """A contestant's latency, and what loading it took."""

    name: Name
    spread: Spread
    alone: Alone


@dataclass(frozen=True)
class Comparison:
    """All contestants on one model; those that did not take part with their reasons."""

    model: str
    rows: tuple[Row, ...]
    absent: tuple[Absent, ...]

    def best(self, *runtimes: str, precision: str = "") -> Row | None:
        """The fastest median of ``runtimes``, among rows of ``precision`` if one is named."""
        fitting = [
            row
            for row in self.rows
            if row.name.runtime in runtimes and precision in ("", row.name.precision)
        ]
        return min(fitting, key=lambda row: row.spread.median_ms, default=None)


PEERS = ("onnxruntime", "openvino")


def ratios(comparison: Comparison) -> dict[str, float]:
    """Medians of hago over the best peer's: of any precision, and precision by precision."""
    found = {}
    for precision in ("", "float32", "int8"):
        own = comparison.best("hago", precision=precision)
        peer = comparison.best(*PEERS, precision=precision)
        if own and peer:
            found[precision or "best"] = own.spread.median_ms / peer.spread.median_ms
    own = comparison.best("hago", precision="float32")
    peer = comparison.best("onnxruntime", precision="float32")
    if own and peer:
        found["float32 over onnxruntime"] = own.spread.median_ms / peer.spread.median_ms
    return found


def compare(
    task: Task,
    entries: Sequence[Entry],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    measure: Measure = measure_alone,
) -> Comparison:
    """Prepares and loads every entry, then lets those that work take turns."""
    found = [_enter(entry, task, measure) for entry in entries]
    present = [one for one in found if isinstance(one, Contestant)]
    spreads = take_turns([one.run for one in present], seconds, clock)
    rows = [
        Row(one.name, measured, one.alone)
        for one, measured in zip(present, spreads, strict=True)
    ]
    absent = [one for one in found if isinstance(one, Absent)]
    return Comparison(task.model, tuple(rows), tuple(absent))


def _enter(entry: Entry, task: Task, measure: Measure) -> Contestant | Absent:
    if find_spec(entry.package) is None:
        return Absent(entry.name, f"the package {entry.package} is not installed")
    try:
        prepared = entry.prepare(task)
        alone = measure(entry.name, task, prepared)
        run = entry.load(task, prepared)
        run()
        return Contestant(entry.name, run, alone)
    except Exception as error:  # a trial: whatever a runtime raises becomes its row
        return Absent(entry.name, f"{type(error).__name__}: {error}".splitlines()[0])
