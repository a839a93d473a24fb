"""What no kernel of ours computes: TVM legalizes and fuses it, and our schedules make it fast."""

from __future__ import annotations

import tvm
from tvm import ir, relax

from hago.hardware.spec import HardwareSpec
from hago.lower.schedule import schedule_rest
from hago.lower.select import machine_of


def lower_rest(module: ir.IRModule, spec: HardwareSpec) -> ir.IRModule:
    """``module`` with every remaining operation as a scheduled PrimFunc.

    Reshapes stay operations: they become views of memory when the module is built.
    """
    passes = [
        relax.transform.LegalizeOps(skip_ops=["relax.reshape"]),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FoldConstant(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(),
    ]
    with tvm.target.Target(spec.target):
        legal = tvm.transform.Sequential(passes)(module)
    return schedule_rest(legal, machine_of(spec).lanes)
