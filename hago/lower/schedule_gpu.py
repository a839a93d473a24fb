"""Schedules for a GPU of loops that TVM generated: elements by threads, reductions by blocks."""

from __future__ import annotations

import tvm
from tvm import ir
from tvm.s_tir import dlight


def schedule_rest_gpu(module: ir.IRModule, target: tvm.target.Target) -> ir.IRModule:
    """``module`` with every PrimFunc that is no kernel of ours scheduled for ``target``."""
    rules = [dlight.gpu.Reduction(), dlight.gpu.GeneralReduction(), dlight.gpu.Fallback()]
    with target:
        return dlight.ApplyDefaultSchedule(*rules)(module)
