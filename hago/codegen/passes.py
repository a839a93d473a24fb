"""TIR passes from kernels to machine code: what loops of a CPU need, and no more.

TVM's default pipeline spends most of its time in passes for GPUs and in its own elimination of
common subexpressions, which LLVM repeats. Without them a model compiles in half the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import tvm
import tvm_ffi
from tvm import ir, s_tir, tirx
from tvm.s_tir.pipeline import finalize_device_passes, finalize_host_passes
from tvm.tirx.buffer import BufferType
from tvm.tirx.compilation_pipeline import register_tir_pipeline

# What ``tvm.compile`` and ``relax.build`` take as ``tir_pipeline``; the second leaves out what
# :func:`compiled_apart` has marked.
CPU_PIPELINE, REST_PIPELINE = "hago-cpu", "hago-cpu-rest"
_APART = "hago.apart"
# The function of a library that gives the address of a constant (of its DLTensor) by number.
CONSTANT = "hago_constant"
_JUMP, _DIRECT = "jump_", ir.Op.get("tirx.tvm_call_cpacked")
_SYMBOL = "__tvm_ffi_"  # in front of the names of functions that take their arguments packed
_PACKED = 1  # tvm::CallingConv::kCPackedFunc


def compiled_apart(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """``function`` of a module whose machine code comes from elsewhere."""
    return function.with_attr(_APART, "1")


def _is_here(function: tirx.PrimFunc) -> bool:
    return _APART not in function.attrs


def _without_others(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
    """``module`` with jumps to what is elsewhere: the code generator would declare a function
    that it does not see anew for each call. What is elsewhere takes constants by their numbers."""
    functions = {str(var.name_hint): function for var, function in module.functions_items()}
    called = set()

    def through_jump(call: ir.Call) -> ir.Call:
        name = call.args[0].value if call.op == _DIRECT else ""
        if name not in functions or _is_here(functions[name]):
            return call
        called.add(name)
        arguments = _with_addresses(functions[name], call.args[1:])
        return ir.Call(_DIRECT, [ir.StringImm(_JUMP + name), *arguments], ret_ty=call.ty)

    kept = {
        var: function.with_body(tvm_ffi.structural_map(function.body, (ir.Call, through_jump)))
        for var, function in module.functions_items()
        if _is_here(function)
    }
    jumps = {ir.GlobalVar(_JUMP + name): _jump(name, functions[name]) for name in sorted(called)}
    return tvm.IRModule({**kept, **jumps}, attrs=module.attrs)


def _with_addresses(
    function: tirx.PrimFunc, arguments: Sequence[tirx.Expr]
) -> list[tirx.Expr]:
    """``arguments`` of ``function``, where a number for a tensor is that of a constant."""
    return [
        tirx.call_extern("handle", CONSTANT, argument)
        if isinstance(argument, tirx.IntImm) and isinstance(parameter.ty, BufferType)
        else argument
        for parameter, argument in zip(function.params, arguments, strict=True)
    ]


def _jump(name: str, function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Passes its arguments on to ``function``, in the runtime's calling convention."""
    types = {"self_handle": "handle", "args": "handle", "num_args": "int32", "result": "handle"}
    params = [tirx.Var(each, dtype) for each, dtype in types.items()]
    call = tirx.call_cpacked_lowered(_SYMBOL + name, params[1], 0, len(function.params))
    body = tirx.SeqStmt([tirx.Evaluate(call), tirx.Return(tirx.const(0, "int32"))])
    symbol = {"global_symbol": _SYMBOL + _JUMP + name, "calling_conv": _PACKED}
    jump = tirx.PrimFunc(params, body, ir.PrimType("int32"))
    return jump.with_attrs({**symbol, "target": function.attrs["target"]})


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


def _rest_pipeline() -> tvm.transform.Pass:
    first = tvm.transform.module_pass(_without_others, opt_level=0, name="without_others")
    return tvm.transform.Sequential([first, _pipeline()])


register_tir_pipeline(
    CPU_PIPELINE, lambda: (_pipeline(), finalize_host_passes, finalize_device_passes)
)
register_tir_pipeline(
    REST_PIPELINE, lambda: (_rest_pipeline(), finalize_host_passes, finalize_device_passes)
)
