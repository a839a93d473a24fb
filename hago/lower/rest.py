"""What no kernel of ours computes: TVM legalizes and fuses it, and our schedules make it fast."""

from __future__ import annotations

import tvm
from tvm import ir, relax

from hago.codegen.cuda.device import Device
from hago.hardware.spec import HardwareSpec
from hago.lower.build import target_of
from hago.lower.schedule import schedule_rest
from hago.lower.schedule_gpu import schedule_rest_gpu
from hago.lower.select import machine_of
from hago.prepare.rewrite import rewrite


def lower_rest(module: ir.IRModule, spec: HardwareSpec) -> ir.IRModule:
    """``module`` with every remaining operation as a scheduled PrimFunc.

    Reshapes stay operations: they become views of memory when the module is built.
    """
    passes = [
        relax.backend.DispatchSortScan(),  # what sorts has no legalization
        relax.transform.LegalizeOps(skip_ops=["relax.reshape"]),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FoldConstant(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(),
    ]
    with target_of(spec):
        legal = _with_unique_names(tvm.transform.Sequential(passes)(module))
    machine = machine_of(spec)
    if isinstance(machine, Device):
        return schedule_rest_gpu(legal, target_of(spec))
    return schedule_rest(legal, machine.lanes)


def _with_unique_names(module: ir.IRModule) -> ir.IRModule:
    """``module`` with every value under a name of its own, which FuseOps does not see to."""
    return rewrite(module, lambda call, scope: None)
