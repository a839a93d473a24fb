"""A lowered module becomes an executable."""

from __future__ import annotations

from typing import Literal

import tvm
from tvm import ir, relax
from tvm.runtime import Executable

from hago.codegen.passes import CPU_PIPELINE
from hago.hardware.spec import HardwareSpec

ExecMode = Literal["compiled", "bytecode"]


def build(
    module: ir.IRModule, spec: HardwareSpec, exec_mode: ExecMode = "compiled"
) -> Executable:
    """The executable of a lowered ``module`` for ``spec``'s target.

    "compiled" turns ``main`` into machine code, too; "bytecode" is interpreted call by call,
    about 20 us a model slower, and can be instrumented.
    """
    target = tvm.target.Target(spec.target)
    return relax.build(
        module,
        target,
        relax_pipeline=_pipeline(),
        tir_pipeline=CPU_PIPELINE,
        exec_mode=exec_mode,
    )


def _pipeline() -> tvm.transform.Pass:
    """Relax's passes from kernel calls to a memory plan."""
    return tvm.transform.Sequential(
        [
            relax.transform.ToNonDataflow(),
            relax.transform.RemovePurityChecking(),
            relax.transform.CallTIRRewrite(),
            relax.transform.StaticPlanBlockMemory(),
            relax.transform.LowerAllocTensor(),
            relax.transform.KillAfterLastUse(),
            relax.transform.LowerRuntimeBuiltin(),
            relax.transform.ComputePrimValue(),
            relax.transform.VMShapeLower(),
            relax.transform.AttachGlobalSymbol(),
        ]
    )
