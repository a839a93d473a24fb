"""TIR passes from kernels to machine code: what loops of a CPU need, and no more.

TVM's default pipeline spends most of its time in passes for GPUs and in its own elimination of
common subexpressions, which LLVM repeats. Without them a model compiles in half the time.
"""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.pipeline import finalize_device_passes, finalize_host_passes
from tvm.tirx.compilation_pipeline import register_tir_pipeline

# What ``tvm.compile`` and ``relax.build`` take as ``tir_pipeline``.
CPU_PIPELINE = "hago-cpu"


def _pipeline() -> tvm.transform.Pass:
    return tvm.transform.Sequential(
        [
            # Blocks of legalized operations become loops.
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            s_tir.transform.LowerMatchBuffer(),
            s_tir.transform.LowerOpaqueBlock(),
            # Loops become flat memory and vectors.
            tirx.transform.FlattenBuffer(),
            tirx.transform.BF16ComputeLegalize(),
            tirx.transform.NarrowDataType(32),
            tirx.transform.VectorizeLoop(True),
            tirx.transform.StorageRewrite(),
            tirx.transform.UnrollLoop(),
            tirx.transform.StmtSimplify(),
            tirx.transform.RemoveNoOp(),
            s_tir.transform.RewriteUnsafeSelect(),
            # Functions get the calling convention of the runtime.
            tirx.transform.FP8ComputeLegalize(),
            tirx.transform.VerifyMemory(),
            tirx.transform.AnnotateEntryFunc(),
            tirx.transform.SplitHostDevice(),
            tirx.transform.MakePackedAPI(),
            tirx.transform.FP8StorageLegalize(),
            tirx.transform.BF16StorageLegalize(),
        ]
    )


register_tir_pipeline(
    CPU_PIPELINE, lambda: (_pipeline(), finalize_host_passes, finalize_device_passes)
)
