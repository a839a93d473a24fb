"""A race between the schedules of one kernel, as it runs in a network: weights come from memory.

    winner = argmin_s median(time_s / time_default)      where it is below 1 in 3 rounds out of 4

Every schedule must give what the template's own choice gives before it may win. Own code instead of
MetaSchedule's runner: that measures one candidate after another by the wall clock, on operands that
stay in the cache, which on a shared machine says more about the neighbours.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from hago.codegen.epilogue import Epilogue
from hago.codegen.passes import CPU_PIPELINE
from hago.codegen.workload import BatchMatmul, Conv2d, Kernel, Matmul, Workload
from hago.deploy.bench import clock_for, random_array
from hago.hardware.permission import request_permissions
from hago.hardware.spec import HardwareSpec
from hago.kernel_search.turns import take_turns
from hago.lower.build import target_of
from hago.lower.calls import kernel_arguments
from hago.lower.cost import operations
from hago.lower.linker import link_shared
from hago.lower.objects import compile_objects, write_objects
from hago.lower.select import build_kernel, machine_of, schedules
from hago.scheme import Array
from hago.search.winners import Winner

_HEATS = ((6, 5), (12, 2))  # rounds, and how many go on, the template's choice aside
_FINAL = 30  # rounds
_PAST_CACHES = 4  # times the L2 cache: weights are read from beyond
_MOST_COPIES = 64  # of weights so small that they stay in the cache in a network, too
_CODES = {"int8": 127, "uint8": 255, "int4": 7, "int8_pairs": 64}  # largest
_SPREAD = 64.0  # of results as codes


def race_schedules(
    workload: Workload, epilogue: Epilogue, spec: HardwareSpec, threads: int
) -> Winner:
    """The fastest schedule on this computer, one of ``schedules(workload, machine)``."""
    request_permissions(spec.features, spec.name)
    machine = machine_of(spec)
    offered = schedules(workload, machine)
    names = [str(each) for each in offered]
    kernels = [build_kernel(workload, epilogue, machine, each) for each in offered]
    entrants = enter(workload, kernels, spec)
    alive = [i for i, each in enumerate(entrants) if agrees(each, entrants[0], workload)]
    clock = clock_for(threads)
    for rounds, kept in _HEATS:
        heat = take_turns([entrants[i] for i in alive], rounds, clock)
        order = sorted(range(1, len(alive)), key=heat.ratio)
        alive = [alive[0], *(alive[place] for place in order[:kept])]
    final = take_turns([entrants[i] for i in alive], _FINAL, clock)
    faster = [place for place in range(1, len(alive)) if final.is_faster(place)]
    best = min(faster, key=final.ratio, default=0)
    default_us = final.microseconds(0)
    return Winner(names[alive[best]], default_us, default_us * final.ratio(best))


@dataclass(eq=False)
class Entrant:
    """A kernel and its arguments; each call takes the next copy of the weights."""

    function: Callable[..., object]
    arguments: Sequence[Sequence[Any]]
    _next: Any = field(init=False)

    def __post_init__(self) -> None:
        self._next = cycle(self.arguments)

    def __call__(self) -> None:
        self.function(*next(self._next))

    def result(self) -> Array:
        """What it writes, into memory of its own."""
        *taken, output = self.arguments[0]
        fresh = tvm.runtime.tensor(np.zeros_like(output.numpy()))
        self.function(*taken, fresh)
        return np.asarray(fresh.numpy())


def agrees(entrant: Entrant, judge: Entrant, workload: Workload) -> bool:
    """Whether both give the same: integers exactly; floats but for the rounding of sums."""
    found, expected = entrant.result(), judge.result()
    if expected.dtype.kind in "iu":
        return bool(np.array_equal(found, expected))
    # Each of the ``depth`` additions rounds by at most eps of the largest partial sum.
    slack = _depth(workload) * float(np.finfo(np.float32).eps)
    largest = float(np.abs(expected.astype(np.float32)).max(initial=0.0))
    return bool(np.all(np.abs(found - expected) <= slack * largest))


def enter(workload: Workload, kernels: Sequence[Kernel], spec: HardwareSpec) -> list[Entrant]:
    """``kernels`` of ``workload``, compiled, with arguments that all of them share."""
    functions = _linked(kernels, spec)
    raw = None if kernels[0].pack is None else _weights(workload)
    shared = [tvm.runtime.tensor(value) for value in _operands(workload, kernels[0])]
    found = []
    for kernel, function in zip(kernels, functions, strict=True):
        if kernel.pack is None or raw is None:
            found.append(Entrant(function, [shared]))
            continue
        packed = kernel.pack(raw)
        wanted = math.ceil(_PAST_CACHES * spec.memory.l2 / packed.nbytes)
        copies = [tvm.runtime.tensor(packed) for _ in range(min(_MOST_COPIES, wanted))]
        found.append(Entrant(function, [[shared[0], copy, *shared[2:]] for copy in copies]))
    return found


def _linked(kernels: Sequence[Kernel], spec: HardwareSpec) -> list[Callable[..., object]]:
    functions = {
        f"kernel_{number}": kernel.func.without_attr("global_symbol")
        for number, kernel in enumerate(kernels)
    }
    with tempfile.TemporaryDirectory(prefix="hago-") as scratch:
        objects = compile_objects(functions, target_of(spec), CPU_PIPELINE)
        library = str(Path(scratch) / "kernels.so")
        link_shared(library, write_objects(Path(scratch), objects))
        module = tvm.runtime.load_module(library)
    return [module.get_function(name) for name in functions]


def _operands(workload: Workload, kernel: Kernel) -> list[Array]:
    """All arguments; those of the epilogue are such that results are not all at a bound."""
    data, *others, output = (random_array(*each) for each in kernel_arguments(kernel))
    scale = 1.0
    if getattr(workload, "accum", "") == "int32":
        scale = 1 / (_SPREAD * math.sqrt(_depth(workload)))
    first = 1 if isinstance(workload, BatchMatmul) else 0
    scaled = [
        each * np.float32(scale) if each.dtype == np.float32 and place >= first else each
        for place, each in enumerate(others)
    ]
    return [data, *scaled, output]


def _weights(workload: Workload) -> Array:
    """Random weights as the workload defines them."""
    match workload:
        case Conv2d():
            shape: tuple[int, ...] = (
                workload.co, workload.kh, workload.kw, workload.ci // workload.groups,
            )  # fmt: skip
        case Matmul():
            shape = (workload.k, workload.n)
        case _:
            raise AssertionError(f"{workload} has no weights")
    if workload.weight not in _CODES:
        return random_array(shape, workload.weight)
    largest, random = _CODES[workload.weight], np.random.default_rng(0)
    if workload.weight == "uint8":
        return random.integers(0, largest, shape).astype(np.uint8)
    return random.integers(-largest, largest + 1, shape).astype(np.int8)


def _depth(workload: Workload) -> int:
    """Products in a sum."""
    elements = math.prod(getattr(workload, "output_shape", (1,)))
    return max(1, operations(workload) // (2 * elements))
