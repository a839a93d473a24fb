"""Where a model's time goes: seconds and calls of each kernel, as measured."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tvm
from tvm import ir, relax

from hago.hardware.permission import request_permissions
from hago.hardware.spec import HardwareSpec
from hago.lower.build import build
from hago.scheme import Array


@dataclass(frozen=True)
class KernelTime:
    """``seconds`` that one run of the model spends in ``calls`` calls of the kernel ``name``."""

    name: str
    seconds: float
    calls: int


def profile_kernels(
    module: ir.IRModule,
    spec: HardwareSpec,
    inputs: Sequence[Array],
    repeats: int = 10,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[KernelTime, ...]:
    """The kernels of a lowered ``module``, the slowest first; the fastest of ``repeats`` runs.

    ``inputs`` are in the order of ``main``'s parameters. ``time.thread_time`` as ``clock`` leaves
    out what other processes take from one thread. Each time includes about a microsecond
    of the measurement itself.
    """
    request_permissions(spec.features, spec.name)
    machine = relax.VirtualMachine(build(module, spec, exec_mode="bytecode"), tvm.cpu())
    watch = _Watch(clock)
    machine.set_instrument(watch)
    tensors = [tvm.runtime.tensor(value) for value in inputs]
    runs = []
    for _ in range(repeats + 1):
        watch.restart()
        machine["main"](*tensors)
        runs.append(dict(watch.times))
    rows = [
        KernelTime(name, min(sum(run[name]) for run in runs[1:]), len(times))
        for name, times in runs[0].items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.seconds))


class _Watch:
    """Called by the virtual machine before and after each call."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.times: dict[str, list[float]] = defaultdict(list)
        self._start = 0.0

    def restart(self) -> None:
        self.times = defaultdict(list)

    def __call__(
        self, function: object, name: str, before_run: bool, result: object, *args: object
    ) -> None:
        if before_run:
            self._start = self._clock()
        else:
            self.times[str(name)].append(self._clock() - self._start)
