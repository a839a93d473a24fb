"""What built models are worth: latency, size, and agreement with float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hago.accuracy import compare_outputs
from hago.calibrate import Dataset
from hago.deploy.artifact import folder_bytes
from hago.deploy.bench import clock_for, measure_in_turns, random_sample
from hago.deploy.load import load
from hago.hardware.host import host_spec, kernels_of, missing_features
from hago.hardware.spec import HardwareSpec
from hago.lower.calls import KernelCall
from hago.model import RunModel, run_on
from hago.plan import Plan
from hago.report import Contestant
from hago.scheme import Array

_COMPARED = 32  # samples on which outputs are compared
_SECONDS = 0.5  # of repeated calls for a latency


@dataclass(frozen=True, eq=False)
class Built:
    """A plan, the artifact folder that it became, and the kernels that this calls."""

    plan: Plan
    folder: Path
    calls: tuple[KernelCall, ...] = ()

    @property
    def size_bytes(self) -> int:
        return folder_bytes(self.folder)


def race(built: Sequence[Built], spec: HardwareSpec, threads: int) -> list[Contestant]:
    """Latency and size of each, in turns, by the clock for comparing; no latencies where this
    computer lacks the machine's features."""
    if missing_features(spec):
        return [Contestant(each.plan.precision, None, each.size_bytes) for each in built]
    models = [load(each.folder, threads=threads) for each in built]
    sample = random_sample(models[0].inputs)
    calls = [lambda run=model.run: run(sample) for model in models]
    timings = measure_in_turns(calls, threads, _SECONDS, clock_for(threads))
    return [
        Contestant(each.plan.precision, timing.median_ms, each.size_bytes)
        for each, timing in zip(built, timings, strict=True)
    ]


def fastest(contestants: Sequence[Contestant]) -> int:
    """Which one has the lowest latency; the first where none was measured."""
    latencies = [contestant.latency_ms for contestant in contestants]
    known = [latency for latency in latencies if latency is not None]
    return latencies.index(min(known)) if known else 0


def agreement(
    exact: Built, actual: Built, spec: HardwareSpec, samples: Dataset
) -> dict[str, float]:
    """:func:`compare_outputs` of the first output over the first samples."""
    expected, found = _runner(exact, spec), _runner(actual, spec)
    pairs: list[tuple[Array, Array]] = [
        (_first(expected(sample)), _first(found(sample))) for sample in islice(samples, _COMPARED)
    ]
    return compare_outputs([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def _runner(built: Built, spec: HardwareSpec) -> RunModel:
    """The artifact; where it cannot run, its module on this computer (integers are the same)."""
    if missing_features(kernels_of(spec)):
        return run_on(built.plan.module, host_spec())
    return load(built.folder).run


def _first(outputs: Mapping[str, Array]) -> Array:
    return next(iter(outputs.values()))
