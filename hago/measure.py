"""What a compiled model is worth: its latency, size and accuracy beside those of float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tvm import ir

from hago.accuracy import compare_outputs
from hago.calibrate import Dataset
from hago.deploy.bench import bench
from hago.deploy.build import build_artifact
from hago.deploy.load import load
from hago.deploy.manifest import Manifest
from hago.hardware.host import host_spec, missing_features
from hago.hardware.spec import HardwareSpec
from hago.lower.lower import lower
from hago.model import RunModel, run_on
from hago.report import Contestant
from hago.scheme import Array

_COMPARED = 32  # samples on which outputs are compared
_SECONDS = 0.5  # of repeated calls for a latency


@dataclass(frozen=True)
class Measured:
    """``accuracy`` by measure, empty without data; latencies are None where it cannot run here."""

    compiled: Contestant
    baseline: Contestant | None
    accuracy: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Trial:
    """A built artifact with the modules behind it: ``baseline`` is float32, where there is one."""

    spec: HardwareSpec
    artifact: Path
    manifest: Manifest
    realized: ir.IRModule
    baseline: ir.IRModule | None
    samples: Dataset | None
    threads: int


def measure(trial: Trial, scratch: Path) -> Measured:
    """Latency, size and agreement with float32 of ``trial``; ``scratch`` holds the baseline."""
    runnable = not missing_features(trial.spec)
    compiled = _contestant(trial.manifest.precision, trial.artifact, trial.threads, runnable)
    if trial.baseline is None:
        return Measured(compiled, None, {})
    folder = scratch / "float32"
    build_artifact(lower(trial.baseline, trial.spec), trial.spec, trial.manifest, folder)
    baseline = _contestant("float32", folder, trial.threads, runnable)
    if trial.samples is None:
        return Measured(compiled, baseline, {})
    runs: list[RunModel]
    if runnable:
        runs = [load(path, threads=trial.threads).run for path in (folder, trial.artifact)]
    else:
        # The integers are the same on every machine: what the host computes stands for it.
        runs = [run_on(module, host_spec()) for module in (trial.baseline, trial.realized)]
    exact, actual = runs
    return Measured(compiled, baseline, _agreement(exact, actual, trial.samples))


def _contestant(name: str, folder: Path, threads: int, runnable: bool) -> Contestant:
    size = sum(path.stat().st_size for path in folder.iterdir())
    if not runnable:
        return Contestant(name, None, size)
    timing = bench(load(folder, threads=threads), threads, _SECONDS)
    return Contestant(name, timing.median_ms, size)


def _agreement(exact: RunModel, actual: RunModel, samples: Dataset) -> dict[str, float]:
    """:func:`compare_outputs` of the first output over the first samples."""
    pairs: list[tuple[Array, Array]] = [
        (_first(exact(sample)), _first(actual(sample))) for sample in islice(samples, _COMPARED)
    ]
    return compare_outputs([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def _first(outputs: Mapping[str, Array]) -> Array:
    return next(iter(outputs.values()))
