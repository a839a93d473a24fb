"""How long a model takes: the median of repeated calls, and how far they spread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hago.deploy.load import Model
from hago.sample import TensorSpec
from hago.scheme import Array

_TURNS = 10


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


def measure_in_turns(
    calls: Sequence[Callable[[], object]], threads: int, seconds: float = 2.0
) -> list[Timing]:
    """The times of several calls that take turns, so that a disturbance strikes all of them.

    Each has ``seconds`` in ten turns, after a tenth of it to warm up.
    """
    for call in calls:
        _times(call, seconds / _TURNS, least=3)
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(_TURNS):
        for call, times in zip(calls, found, strict=True):
            times += _times(call, seconds / _TURNS, least=1)
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


def _times(call: Callable[[], object], seconds: float, least: int) -> list[float]:
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < least or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
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
