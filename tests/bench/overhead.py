"""What a run costs beside its kernels: the same model with kernels that do nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tvm
from tvm import ir, relax
from tvm import tirx as tir

from hago.hardware.permission import request_permissions
from hago.hardware.spec import HardwareSpec
from hago.lower.build import build
from hago.scheme import Array
from tests.bench.timing import take_turns


@dataclass(frozen=True)
class Overhead:
    """Medians in milliseconds of a whole run, and of a run whose kernels are empty.

    The second one is the dispatch of the virtual machine, its allocations and its checks.
    """

    run_ms: float
    empty_ms: float

    @property
    def share(self) -> float:
        """(run - sum of kernels) / run."""
        return self.empty_ms / self.run_ms


def measure_overhead(
    lowered: ir.IRModule,
    spec: HardwareSpec,
    inputs: Sequence[Array],
    seconds: float,
    clock: Callable[[], float],
) -> Overhead:
    """Both runs of a ``lowered`` module taking turns, about ``seconds`` each.

    ``inputs`` are in the order of ``main``'s parameters.
    """
    request_permissions(spec.features, spec.name)
    tensors = [tvm.runtime.tensor(value) for value in inputs]
    machines = [
        relax.VirtualMachine(build(module, spec), tvm.cpu())
        for module in (lowered, emptied(lowered))
    ]
    calls = [lambda main=machine["main"]: main(*tensors) for machine in machines]
    run, empty = take_turns(calls, seconds, clock)
    return Overhead(run.median_ms, empty.median_ms)


def emptied(lowered: ir.IRModule) -> ir.IRModule:
    """``lowered`` with kernels that return at once; what they should have written is undefined."""
    nothing = tir.Evaluate(tir.const(0, "int32"))
    return tvm.IRModule(
        {
            var: function.with_body(nothing) if isinstance(function, tir.PrimFunc) else function
            for var, function in lowered.functions_items()
        },
        attrs=lowered.attrs,
    )
