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
from hago.prepare.expression import dtype_of, is_call
from hago.prepare.rewrite import Scope, rewrite


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
        comparable = rewrite(module, _compare_bytes)
        legal = _with_unique_names(tvm.transform.Sequential(passes)(comparable))
    machine = machine_of(spec)
    if isinstance(machine, Device):
        return schedule_rest_gpu(legal, target_of(spec))
    return schedule_rest(legal, machine.lanes)


def _compare_bytes(call: relax.Call, scope: Scope) -> relax.Expr | None:
    """Truths are compared as bytes: of truths TVM makes a comparison of floats, which LLVM
    refuses."""
    if not is_call(call, "equal", "not_equal") or dtype_of(call.args[0]) != "bool":
        return None
    return relax.Call(call.op, [scope.emit(relax.op.astype(x, "int8")) for x in call.args])


def _with_unique_names(module: ir.IRModule) -> ir.IRModule:
    """``module`` with every value under a name of its own, which FuseOps does not see to."""
    return rewrite(module, lambda call, scope: None)
