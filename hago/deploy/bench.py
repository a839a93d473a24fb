"""How long a model takes: the median of repeated calls, and how far they spread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hago.deploy.load import Model
from hago.sample import TensorSpec
from hago.scheme import BFLOAT16_ARRAY, Array

_TURNS = 10
_COPYING = 0.05  # seconds
_CODES = 127  # of both int8 and uint8
Clock = Callable[[], float]  # seconds since whenever


@dataclass(frozen=True)
class Timing:
    """Latency in milliseconds over ``runs`` calls; ``iqr_ms`` is the interquartile range."""

    median_ms: float
    iqr_ms: float
    min_ms: float
    runs: int
    threads: int

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def bench(model: Model, threads: int, seconds: float = 2.0) -> Timing:
    """The latency of ``model`` on random inputs, repeated for about ``seconds``.

    ``threads`` is what the model was loaded with: it is recorded, not set.
    """
    sample = random_sample(model.inputs)
    return measure(lambda: model.run(sample), threads, seconds)


def measure(call: Callable[[], object], threads: int, seconds: float = 2.0) -> Timing:
    """The time of ``call``: a tenth of ``seconds`` of warm-up, then at least 10 calls."""
    return measure_in_turns([call], threads, seconds)[0]


def measure_cost(call: Callable[[], object], threads: int, seconds: float) -> Timing:
    """The same by the clock for comparing."""
    return measure_in_turns([call], threads, seconds, clock_for(threads))[0]


def clock_for(threads: int) -> Clock:
    """The clock for comparing: of one thread the time that the CPU gave to it counts, so that other
    work on the machine is not mistaken for its own."""
    return time.thread_time if threads == 1 else time.perf_counter


def copied_per_ms(size: int) -> float:
    """Bytes that this core copies in a millisecond, in arrays of ``size`` bytes."""
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)
    return size / measure_cost(lambda: np.copyto(target, source), 1, _COPYING).median_ms


def measure_in_turns(
    calls: Sequence[Callable[[], object]],
    threads: int,
    seconds: float = 2.0,
    clock: Clock = time.perf_counter,
) -> list[Timing]:
    """The times of several calls that take turns, so that a disturbance strikes all of them.

    Each has ``seconds`` in ten turns, after a tenth of it to warm up.
    """
    for call in calls:
        _times(call, seconds / _TURNS, 3, clock)
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(_TURNS):
        for call, times in zip(calls, found, strict=True):
            times += _times(call, seconds / _TURNS, 1, clock)
    return [timing_of(times, threads) for times in found]


def timing_of(times: Sequence[float], threads: int) -> Timing:
    """The figures of ``times`` in seconds, one for each call."""
    milliseconds = np.array(times) * 1e3
    low, median, high = np.percentile(milliseconds, (25, 50, 75))
    return Timing(
        median_ms=float(median),
        iqr_ms=float(high - low),
        min_ms=float(milliseconds.min()),
        runs=len(milliseconds),
        threads=threads,
    )


def _times(
    call: Callable[[], object], seconds: float, least: int, clock: Clock
) -> list[float]:
    found: list[float] = []
    end = clock() + seconds
    while len(found) < least or clock() < end:
        start = clock()
        call()
        found.append(clock() - start)
    return found


def random_sample(inputs: tuple[TensorSpec, ...], seed: int = 0) -> dict[str, Array]:
    """Normal values for float inputs and ones for integers (valid as an index and as a mask)."""
    random = np.random.default_rng(seed)
    return {
        spec.name: random.standard_normal(spec.shape).astype(spec.dtype)
        if np.dtype(spec.dtype).kind == "f"
        else np.ones(spec.shape, spec.dtype)
        for spec in inputs
    }


def random_array(shape: tuple[int, ...], dtype: str) -> Array:
    """What a kernel may be timed with, the same each time: normal values for floats, codes that
    any 8-bit type has, ones for indices and masks."""
    kind = BFLOAT16_ARRAY if dtype == "bfloat16" else np.dtype(dtype)
    random = np.random.default_rng(0)
    if dtype in ("int8", "uint8"):
        return random.integers(0, _CODES, shape).astype(kind)
    if kind.kind in "iub":
        return np.ones(shape, kind)
    return random.standard_normal(shape).astype(np.float32).astype(kind)
