"""What a worker does for a device: it builds here, then runs and times what was built there.

The device needs TVM's runtime and an RPC server; what is sent are libraries and tensors.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm import ir, relax

from hago.deploy.artifact import LIBRARY, library_bytes
from hago.deploy.bench import Timing, random_sample, timing_of
from hago.deploy.build import build_artifact, build_library
from hago.deploy.manifest import Manifest
from hago.sample import Sample
from hago.scheme import Array
from hago.search.tracker import Tracker
from hago.search.work import (
    ARTIFACT_S,
    SEGMENT_S,
    Setting,
    Verified,
    quietest,
    random_inputs,
    timed_until_quiet,
)

_POOL_OF_EQUAL_CORES = 1  # tvm::runtime::threading::ThreadGroup::AffinityMode::kBig
_REPEATS = 10  # measurements of a turn
_ONE_TENSOR = -1  # the "arity" of a result that is no tuple
_MARGIN_S = 5.0  # a device gives up later than who waits for it: it must not be asked too early


@dataclass(frozen=True, eq=False)
class Job:
    """A ``library``, the inputs of ``runs``, and of the call that is timed for ``seconds``."""

    library: bytes
    runs: tuple[tuple[Array, ...], ...]
    timed: tuple[Array, ...]
    seconds: float
    threads: int


@dataclass(frozen=True, eq=False)
class Done:
    """The latency, and the outputs of each run."""

    latency_ms: float
    outputs: tuple[tuple[Array, ...], ...]


def segment_job(module: ir.IRModule, setting: Setting) -> Job:
    """:func:`hago.search.work.time_segment` up to where a device is needed."""
    with tempfile.TemporaryDirectory(prefix="hago-") as scratch:
        path = Path(scratch) / LIBRARY
        build_library(setting.lower(module), setting.spec, path)
        inputs = tuple(random_inputs(module))
        return Job(path.read_bytes(), (), inputs, SEGMENT_S, setting.threads)


def segment_result(done: Done, *_: object) -> float:
    """What ``time_segment`` gives."""
    return done.latency_ms


def artifact_job(
    module: ir.IRModule,
    setting: Setting,
    manifest: Manifest,
    folder: Path,
    samples: Sequence[Sample],
    compressed: bool,
    beside: Path | None,
) -> Job:
    """:func:`hago.search.work.verify` up to where a device is needed: ``folder`` is built.

    Nothing is timed ``beside`` it: the device has nothing else to do.
    """
    lowered = setting.lower(module)
    build_artifact(lowered, setting.spec, manifest, folder, compressed=compressed)
    runs = tuple(_ordered(sample, manifest) for sample in samples)
    timed = _ordered(random_sample(manifest.inputs), manifest)
    return Job(library_bytes(folder), runs, timed, ARTIFACT_S, setting.threads)


def artifact_result(
    done: Done,
    module: ir.IRModule,
    setting: Setting,
    manifest: Manifest,
    *_: object,
) -> Verified:
    """What ``verify`` gives."""
    names = [output.name for output in manifest.outputs]
    outputs = tuple(dict(zip(names, values, strict=True)) for values in done.outputs)
    return Verified(done.latency_ms, outputs)


def run_job(tracker: Tracker, job: Job, limit_s: float) -> Done:
    """Runs ``job`` on a device that ``tracker`` gives."""
    session = tracker.session(limit_s + _MARGIN_S)
    session.get_function("runtime.config_threadpool")(_POOL_OF_EQUAL_CORES, job.threads)
    session.upload(bytearray(job.library), LIBRARY)
    device = session.cpu()
    machine = relax.VirtualMachine(session.load_module(LIBRARY), device)
    outputs = tuple(_run(machine, device, inputs) for inputs in job.runs)
    machine.set_input("main", *_sent(job.timed, device))
    timings = timed_until_quiet(lambda: _timing(machine, device, job))
    return Done(quietest(timings), outputs)


def _timing(machine: Any, device: Any, job: Job) -> Timing:
    """The device measures itself: the network is not in the times."""
    evaluate = machine.time_evaluator(
        "invoke_stateful",
        device,
        number=1,
        repeat=_REPEATS,
        min_repeat_ms=round(1e3 * job.seconds / _REPEATS),
    )
    return timing_of(list(evaluate("main").results), job.threads)


def _run(machine: Any, device: Any, inputs: Sequence[Array]) -> tuple[Array, ...]:
    machine.set_input("main", *_sent(inputs, device))
    machine.invoke_stateful("main")
    # Not get_outputs: its closure refers to itself, which keeps the session, and so the device,
    # until Python collects cycles (tvm 0.27, runtime/vm.py).
    count = machine.module["get_output_arity"]("main")
    take = machine.module["get_output"]
    if count == _ONE_TENSOR:
        return (take("main").numpy(),)
    return tuple(take("main", number).numpy() for number in range(count))


def _sent(inputs: Sequence[Array], device: Any) -> list[Any]:
    return [tvm.runtime.tensor(value, device) for value in inputs]


def _ordered(sample: Sample, manifest: Manifest) -> tuple[Array, ...]:
    return tuple(sample[spec.name] for spec in manifest.inputs)
