"""What a worker is asked to do: build, time, and run; on the machine whose latency counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tvm
from tvm import ir, relax

from hago.dataflow import tensor_type
from hago.deploy.bench import (
    Timing,
    clock_for,
    measure_cost,
    measure_in_turns,
    random_array,
    random_sample,
)
from hago.deploy.build import build_artifact
from hago.deploy.load import load
from hago.deploy.manifest import Manifest
from hago.hardware.host import host_spec, missing_features
from hago.hardware.spec import HardwareSpec
from hago.lower.build import build
from hago.lower.lower import Choose, by_template, lower_with_weights
from hago.model import run_on
from hago.sample import Sample
from hago.scheme import Array

_TURNS, _QUIET = 3, 0.05  # at most so many measurements, until one spreads no wider than this
SEGMENT_S, ARTIFACT_S = 0.1, 0.5  # of measuring, a turn


@dataclass(frozen=True)
class Setting:
    """What all trials are built for: a machine, CPU threads, and how kernels cut their work."""

    spec: HardwareSpec
    threads: int = 1
    choose: Choose = by_template

    def lower(self, module: ir.IRModule) -> ir.IRModule:
        """A realized ``module`` as calls of kernels."""
        return lower_with_weights(module, self.spec, (), self.choose).module


@dataclass(frozen=True, eq=False)
class Verified:
    """What a whole artifact does; ``latency_ms`` is None where it cannot run here.

    ``beside_ms`` is that of another artifact measured in turns with it, where there was one.
    """

    latency_ms: float | None
    outputs: tuple[dict[str, Array], ...]
    beside_ms: float | None = None


def time_segment(module: ir.IRModule, setting: Setting) -> float:
    """The latency in ms of a realized ``module`` on random inputs."""
    library = build(setting.lower(module), setting.spec)
    machine = relax.VirtualMachine(library, tvm.cpu())
    main = machine["main"]
    inputs = [tvm.runtime.tensor(value) for value in random_inputs(module)]
    run = partial(main, *inputs)
    return quietest(timed_until_quiet(lambda: measure_cost(run, setting.threads, SEGMENT_S)))


def verify(
    module: ir.IRModule,
    setting: Setting,
    manifest: Manifest,
    folder: Path,
    samples: Sequence[Sample],
    compressed: bool,
    beside: Path | None,
) -> Verified:
    """Builds the artifact of a realized ``module`` in ``folder``, runs ``samples``, times it in
    turns with the artifact ``beside``.

    For a machine that this one is not, its module runs instead: its integers are the same.
    """
    lowered = setting.lower(module)
    build_artifact(lowered, setting.spec, manifest, folder, compressed=compressed)
    if missing_features(setting.spec):
        run = run_on(module, host_spec())
        return Verified(None, tuple(run(sample) for sample in samples))
    model = load(folder, setting.threads)
    outputs = tuple(_copied(model.run(sample)) for sample in samples)
    run = partial(model.run, random_sample(model.inputs))
    if beside is None:
        timings = timed_until_quiet(lambda: measure_cost(run, setting.threads, ARTIFACT_S))
        return Verified(quietest(timings), outputs)
    calls = [run, partial(load(beside, setting.threads).run, random_sample(model.inputs))]
    clock = clock_for(setting.threads)
    latency, other = measure_in_turns(calls, setting.threads, ARTIFACT_S, clock)
    return Verified(latency.median_ms, outputs, other.median_ms)


def timed_until_quiet(once: Callable[[], Timing]) -> list[Timing]:
    """Measurements, the last of which spreads little, or as many as are worth the time."""
    timings = [once()]
    while len(timings) < _TURNS and _spread(timings[-1]) > _QUIET:
        timings.append(once())
    return timings


def quietest(timings: Sequence[Timing]) -> float:
    """The lowest median: other work on the machine can only add to a latency."""
    return min(timing.median_ms for timing in timings)


def _spread(timing: Timing) -> float:
    return timing.iqr_ms / timing.median_ms


def _copied(outputs: dict[str, Array]) -> dict[str, Array]:
    """Arrays of their own: the artifact's memory ends with it."""
    return {name: np.array(value) for name, value in outputs.items()}


def random_inputs(module: ir.IRModule) -> list[Array]:
    """Inputs of a realized ``module`` that mean nothing, the same ones each time."""
    return [random_array(*tensor_type(param)) for param in module["main"].params]
