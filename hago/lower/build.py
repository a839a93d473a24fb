"""A lowered module becomes an executable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import tvm
from tvm import ir, relax, tirx
from tvm.runtime import Executable

from hago.codegen.passes import CPU_PIPELINE, REST_PIPELINE, compiled_apart
from hago.hardware.host import kernels_of
from hago.hardware.spec import HardwareSpec
from hago.lower.constants import take_constants
from hago.lower.constants_object import ConstantsObject
from hago.lower.objects import compile_objects
from hago.lower.program import Program

ExecMode = Literal["compiled", "bytecode"]
# Bindings of "main", which is one block of code: LLVM's time grows with their square, 9 s for 1,900
# and 45 s for 3,800, where code as it comes takes 1 and 2 s. DeiT-tiny (467) runs 0.6% slower so.
_MOST_OPTIMISED = 1000
# With it TVM keeps CUDA C++ as text, also on a computer with a GPU: nvcc compiles it, and the
# machine code goes into the library (hago/deploy/device_code.py).
_AS_TEXT = "TVM_COMPILE_FORCE_FALLBACK"


def build(
    module: ir.IRModule, spec: HardwareSpec, exec_mode: ExecMode = "compiled"
) -> Executable:
    """The executable of a lowered ``module`` for ``spec``'s target (of a model, the host's).

    "compiled" turns ``main`` into machine code, too; "bytecode" is interpreted call by call,
    about 20 us a model slower, and can be instrumented. Kernels for a GPU are CUDA C++ in it:
    :func:`device_source` gives the text.
    """
    spec = kernels_of(spec)
    target = target_of(spec)
    if spec.is_gpu:
        with _device_code_as_text():
            return relax.build(module, target, None, _pipeline(), "default", exec_mode)
    kernels = {var: f for var, f in module.functions_items() if isinstance(f, tirx.PrimFunc)}
    functions = {str(var.name_hint): function for var, function in kernels.items()}
    objects = compile_objects(functions, target, CPU_PIPELINE)
    module = module.clone()
    for var, function in kernels.items():
        module.update_func(var, compiled_apart(function))
    with target:
        module, constants = _pipeline()(module), None
    if exec_mode == "compiled":
        module, tensors = take_constants(module)
        constants = ConstantsObject(tensors, spec.triple)
    target = _target_of_main(module, spec)
    main = relax.build(module, target, None, None, REST_PIPELINE, exec_mode)
    return Program(main.mod, objects, constants)


def _target_of_main(module: ir.IRModule, spec: HardwareSpec) -> tvm.target.Target:
    """The target of what calls kernels, which LLVM does not optimise where it is long."""
    calls = sum(len(block.bindings) for block in module["main"].body.blocks)
    is_long = calls > _MOST_OPTIMISED
    return tvm.target.Target({**spec.target, "opt-level": 0}) if is_long else target_of(spec)


def target_of(spec: HardwareSpec) -> tvm.target.Target:
    """TVM's target; for a GPU with this computer's CPU as host."""
    if spec.is_gpu:
        return tvm.target.Target(spec.target, host={"kind": "llvm"})
    return tvm.target.Target(spec.target)


def device_source(module: Any) -> str:
    """The CUDA C++ of a built module (of an executable's ``mod``); empty where it has none."""
    if module.kind == "cuda":
        return str(module.inspect_source())
    return "".join(device_source(inner) for inner in module.imports)


def kernel_source(functions: ir.IRModule, spec: HardwareSpec) -> str:
    """The CUDA C++ of a module of kernels alone."""
    return device_source(build_kernels(functions, spec).mod)


def build_kernels(functions: ir.IRModule, spec: HardwareSpec) -> Executable:
    """The executable of a module of kernels alone, for a GPU."""
    with _device_code_as_text():
        return tvm.compile(functions, target_of(spec))


@contextmanager
def _device_code_as_text() -> Iterator[None]:
    before = os.environ.get(_AS_TEXT)
    os.environ[_AS_TEXT] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_AS_TEXT]
        else:
            os.environ[_AS_TEXT] = before


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
