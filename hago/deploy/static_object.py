"""A network as one object file with a C header, which needs neither TVM's runtime nor a heap.

    #include "digits.h"
    digits_run(image, scores);          link with: digits.o -lm

Kernels are the same as an artifact's. Their tensors lie in one static block, weights among the
program's constants. They run one after the other on the calling thread.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm import ir, tirx
from tvm_ffi import structural_visit

from hago.codegen.passes import CPU_PIPELINE
from hago.deploy.static_plan import StaticPlan, Tensor, static_plan
from hago.errors import BuildError
from hago.hardware.host import kernels_of
from hago.hardware.spec import HardwareSpec
from hago.lower.build import target_of
from hago.sample import TensorSpec

# DLDataTypeCode, and the type in C, by what dtypes begin with.
_KINDS = {
    "int": (0, "int{}_t"), "uint": (1, "uint{}_t"), "float": (2, "float"), "bool": (6, "uint8_t"),
    "bfloat": (4, "uint16_t"),
}  # fmt: skip
_CALL_BY_NAME = "tirx.tvm_call_packed"
_FIXED = Path(__file__).with_name("static_object.c")
_DRIVERS = {"": ("cc", "gcc", "clang"), "cross": ("{}-gcc", "{}-clang")}
_COPIERS = {"": ("objcopy", "llvm-objcopy"), "cross": ("{}-objcopy", "llvm-objcopy")}

Names = Sequence[TensorSpec]


def write_static_object(
    lowered: ir.IRModule, spec: HardwareSpec, specs: tuple[Names, Names], path: Path
) -> None:
    """Writes ``path`` (NAME.o) and NAME.h beside it, for ``lowered`` with these inputs and outputs.

    Raises BuildError for GPUs, for what needs TVM's runtime, and where there is no C compiler.
    """
    check_static_object(spec, path)
    spec, plan, name = kernels_of(spec), static_plan(lowered), symbol(path)
    functions = {
        str(var.name_hint): function.with_attr("global_symbol", str(var.name_hint))
        for var, function in lowered.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }
    for function in functions.values():
        _check_alone(function)
    kernels = tvm.compile(
        tvm.IRModule(functions), target_of(spec), tir_pipeline=CPU_PIPELINE
    ).mod  # fmt: skip
    header = _header(name, plan, specs, spec)
    with tempfile.TemporaryDirectory(prefix="hago-") as scratch:
        folder = Path(scratch)
        kernels.write_to_file(str(folder / "kernels.o"), "o")
        (folder / "constants.bin").write_bytes(plan.constants or b"\0")
        (folder / f"{name}.h").write_text(header, encoding="utf-8")
        text = _source(name, plan, specs, workspace_bytes(functions, spec))
        (folder / "network.c").write_text(text, encoding="utf-8")
        _link(name, folder, spec.triple)
        shutil.copyfile(folder / "all.o", path)
    path.with_suffix(".h").write_text(header, encoding="utf-8")


def _check_alone(function: tirx.PrimFunc) -> None:
    """Raises BuildError where ``function`` calls one of TVM's runtime, as what sorts does."""
    called: list[str] = []

    def visit(node: Any, visitor: Any) -> None:
        if getattr(getattr(node, "op", None), "name", "") == _CALL_BY_NAME:
            called.append(str(node.args[0].value))
        visitor.default_visit(node)

    structural_visit(function.body, visit)
    if called:
        raise BuildError(
            f"no static object: {called[0]} is a function of TVM's runtime",
            fact="its operation (sorting, for the most part) has no kernel",
            way_out="Use the artifact's library, or cut the model in front of it.",
        )


def check_static_object(spec: HardwareSpec, path: Path) -> None:
    """Raises BuildError where it cannot be made; call it before the long work."""
    if path.suffix != ".o":
        raise BuildError(f"{path}: a static object is called NAME.o", way_out="Give such a name.")
    if spec.is_gpu:
        raise BuildError(
            f"{path}: no static object for {spec.name}",
            fact="what runs on a GPU is loaded by its driver",
            way_out="Use the artifact's library.",
        )
    triple = kernels_of(spec).triple
    _find(triple, _DRIVERS, "C compiler")
    _find(triple, _COPIERS, "objcopy")


def symbol(path: Path) -> str:
    """What C calls the network in the file ``path``."""
    name = re.sub(r"\W", "_", path.stem, flags=re.ASCII)
    return name if name and not name[0].isdigit() else f"_{name}"


def workspace_bytes(functions: dict[str, tirx.PrimFunc], spec: HardwareSpec) -> int:
    """The most bytes that one kernel takes beside its tensors, all of them at once."""
    target = tvm.target.Target(spec.target, host=spec.target)
    pipeline, finalize, _ = tirx.get_tir_pipeline(CPU_PIPELINE)
    with target:
        lowered = tirx.transform.BindTarget(target)(tvm.IRModule(functions))
        lowered = finalize()(pipeline(lowered))
    most = 0
    for _, function in lowered.functions_items():
        taken = re.findall(r"AllocWorkspace\(.*?T\.uint64\((\d+)\)", function.script())
        most = max(most, sum(-(-int(size) // 64) * 64 for size in taken))
    return most


def _header(name: str, plan: StaticPlan, specs: tuple[Names, Names], spec: HardwareSpec) -> str:
    told = [
        f" *   {each.name}: {each.dtype} [{', '.join(map(str, each.shape))}]"
        for each in (*specs[0], *specs[1])
    ]
    guard = f"HAGO_{name.upper()}_H_"
    return f"""/* {name} for {spec.name}, which needs {', '.join(spec.features)}. Made by hago.
 *
{chr(10).join(told)}
 *
 * Returns 0. All memory is static ({plan.arena_bytes} bytes of tensors, {len(plan.constants)} of
 * constants), so only one call may run at a time. Link with -lm.
 */
#ifndef {guard}
#define {guard}
#include <stdint.h>
#ifdef __cplusplus
extern "C" {{
#endif
int {name}_run({_parameters(specs)});
#ifdef __cplusplus
}}
#endif
#endif
"""


def _parameters(specs: tuple[Names, Names]) -> str:
    inputs = [f"const {_c_type(each.dtype)}* {_c_name(each.name)}" for each in specs[0]]
    return ", ".join([*inputs, *(f"{_c_type(e.dtype)}* {_c_name(e.name)}" for e in specs[1])])


def _c_name(name: str) -> str:
    return symbol(Path(re.sub(r"\W", "_", name)))


def _kind(dtype: str) -> tuple[int, str, int]:
    """Code, C type and bits of a dtype."""
    base, bits = dtype.rstrip("0123456789"), re.search(r"\d+$", dtype)
    if base not in _KINDS:
        raise BuildError(f"no static object: its tensors cannot be {dtype}")
    return *_KINDS[base], int(bits[0]) if bits else 8


def _c_type(dtype: str) -> str:
    _, name, bits = _kind(dtype)
    return name.format(bits)


def _source(name: str, plan: StaticPlan, specs: tuple[Names, Names], workspace: int) -> str:
    """The C text of the network: its tables, the fixed part, and its one function."""
    tensors = list(dict.fromkeys(each for _, given in plan.calls for each in given))
    number = {tensor: i for i, tensor in enumerate(tensors)}
    kernels = sorted({f"__tvm_ffi_{kernel}" for kernel, _ in plan.calls})
    inputs, outputs = (
        [(each, _c_name(spec.name)) for each, spec in zip(tensors_of, side, strict=True)]
        for tensors_of, side in zip((plan.inputs, plan.outputs), specs, strict=True)
    )
    lists = [[len(given), *(number[each] for each in given)] for _, given in plan.calls]
    lines = [
        f'#include "{name}.h"', "#include <stddef.h>", "#include <string.h>",
        "typedef struct { int32_t type_index; uint32_t zero_padding;",
        "  union { int64_t number; void* pointer; } value; } Any;",
        "typedef struct { void* data; struct { int32_t type, id; } device; int32_t ndim;",
        "  struct { uint8_t code, bits; uint16_t lanes; } dtype; int64_t *shape, *strides;",
        "  uint64_t byte_offset; } Tensor;",
        "typedef int (*Kernel)(void*, const Any*, int32_t, Any*);",
        f"enum {{ kWorkspace = {max(workspace, 64)}, "
        f"kMostArguments = {max((len(each) for each in lists), default=1)} }};",
        f"static uint8_t arena[{max(plan.arena_bytes, 1)}] __attribute__((aligned(64)));",
        "extern uint8_t hago_constants[];",
        '__asm__(".section .rodata\\n.balign 64\\n.global hago_constants\\nhago_constants:\\n"',
        '        ".incbin \\"constants.bin\\"\\n.text\\n");',
        *(f"int {kernel}(void*, const Any*, int32_t, Any*);" for kernel in kernels),
        *(_extents(i, tensor) for i, tensor in enumerate(tensors)),
        "static Tensor tensors[] = {",
        *(_entry(i, tensor) for i, tensor in enumerate(tensors)),
        "};",
        f"static const uint16_t arguments[] = {{{_joined(n for row in lists for n in row)}}};",
        f"static const Kernel kernels[] = {{{_joined(f'__tvm_ffi_{k}' for k, _ in plan.calls)}}};",
        _FIXED.read_text(encoding="utf-8"),
        f"int {name}_run({_parameters(specs)}) {{",
        *(_copy(_pointer(each), given, each) for each, given in inputs),
        "  if (RunKernels() != 0) return -1;",
        *(_copy(given, _pointer(each), each) for each, given in outputs),
        "  return 0;", "}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _joined(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))


def _pointer(tensor: Tensor) -> str:
    return f"{'hago_constants' if tensor.is_constant else 'arena'} + {tensor.offset}"


def _copy(target: str, source: str, tensor: Tensor) -> str:
    return f"  memcpy({target}, {source}, {tensor.size_bytes});"


def _extents(number: int, tensor: Tensor) -> str:
    """Shape and strides, in elements."""
    strides = [1]
    for extent in reversed(tensor.shape[1:]):
        strides.insert(0, strides[0] * extent)
    both = [*tensor.shape, *strides[: len(tensor.shape)]] or [0]
    return f"static int64_t extents{number}[] = {{{_joined(both)}}};"


def _entry(number: int, tensor: Tensor) -> str:
    code, _, bits = _kind(tensor.dtype)
    rank = len(tensor.shape)
    return (
        f"  {{{_pointer(tensor)}, {{1, 0}}, {rank}, {{{code}, {bits}, 1}}, "
        f"extents{number}, extents{number} + {rank}, 0}},"
    )


def _link(name: str, folder: Path, triple: str) -> None:
    """All objects in one, ``all.o``, which shows nothing but the network's function."""
    compiler, copier = _find(triple, _DRIVERS, "C compiler"), _find(triple, _COPIERS, "objcopy")
    for command in (
        [compiler, "-std=gnu11", "-O2", "-fPIC", "-c", "network.c", "-o", "network.o"],
        [compiler, "-r", "-nostdlib", "network.o", "kernels.o", "-o", "all.o"],
        [copier, f"--keep-global-symbol={name}_run", "all.o"],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(
                f"{name}.o: {Path(command[0]).name} failed",
                fact=done.stderr.strip() or f"exit status {done.returncode}",
                source=" ".join(command[1:]),
                way_out="Install another C compiler and its binutils.",
            )


def _find(triple: str, names: Mapping[str, tuple[str, ...]], what: str) -> str:
    """A tool for ``triple``, empty for this computer's."""
    is_cross = triple.partition("-")[0] not in ("", os.uname().machine)
    wanted = [each.format(triple) for each in names["cross" if is_cross else ""]]
    if found := next((path for name in wanted if (path := shutil.which(name))), None):
        return found
    raise BuildError(
        f"no {what} for {triple or 'this machine'}",
        fact=f"none of {', '.join(wanted)} is on the PATH",
        way_out="Install gcc and binutils for it (Debian, for Arm: gcc-aarch64-linux-gnu).",
    )
