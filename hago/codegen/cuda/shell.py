"""A kernel of CUDA C++ inside of a PrimFunc: TVM's host code launches it like any other.

The PrimFunc says what its arguments are, how many blocks and threads there are and how much shared
memory a block has; all that the threads do is one call of a function that we wrote. Tensor cores
are programmed in text because fragments, permuted shared memory and copies in the background are
plain in CUDA C++, and because that text can be run without a GPU (tests/cuda).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tvm import tirx as tir
from tvm.backend.cuda.op import cuda_func_call
from tvm.script.ir_builder import tirx as T

from hago.codegen.cuda.epilogue import epilogue_text
from hago.codegen.cuda.operations import C_TYPES
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.product import arguments, kernel

# What the text includes, for nvcc's -I.
INCLUDE = Path(__file__).parent / "include"
_SCHEDULED = "tirx.is_scheduled"  # what TVM's schedules for GPUs leave alone
_MOST_BLOCKS = 2**31 - 1  # of the first axis of a grid (CUDA C++ Programming Guide)


@dataclass(frozen=True)
class Launch:
    """``blocks`` of ``threads``; ``shared`` bytes of shared memory a block."""

    blocks: int
    threads: int
    shared: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.blocks <= _MOST_BLOCKS or not 0 < self.threads <= 1024:
            raise ValueError(f"{self.blocks} blocks of {self.threads} threads")


@dataclass(frozen=True)
class Body:
    """What the threads do: ``call`` is a statement that may read ``data``, ``inputs`` by their
    names, ``epilogue`` and ``shared``; ``declarations`` come before it. ``header`` is the file of
    include/hago that has what they call."""

    header: str
    declarations: str
    call: str


# Shape and dtype of an argument.
Type = tuple[Sequence[int], str]


def constants(
    name: str,
    values: dict[str, int],
    types: dict[str, str] | None = None,
    functions: dict[str, str] | None = None,
) -> str:
    """A struct of compile-time integers, names for types, and functions: "int f(int x)" to the
    expression that it returns."""
    lines = [f"  typedef {c_type} {key};" for key, c_type in (types or {}).items()]
    lines += [f"  static constexpr int {key} = {value};" for key, value in values.items()]
    for signature, value in (functions or {}).items():
        lines.append(f"  static __device__ __forceinline__ {signature} {{ return {value}; }}")
    return "\n".join([f"struct {name} {{", *lines, "};"])


def lanes_of(extent: int, most: int) -> int:
    """Neighbours a thread: the largest power of two up to ``most`` that divides ``extent``."""
    return next(lanes for lanes in (16, 8, 4, 2, 1) if lanes <= most and extent % lanes == 0)


def build_shell(
    name: str,
    inputs: Sequence[tuple[str, Type]],
    epilogue: Epilogue,
    shape: Sequence[int],
    launch: Launch,
    body: Body,
    logical: Sequence[int] = (),
) -> tir.PrimFunc:
    """``func(*inputs, *operands, output [shape])``, named ``inputs`` in front of the epilogue's.

    ``logical`` is the output's shape as the threads see it, where that is another one.
    """
    operands = [(operand.shape, operand.dtype) for operand in epilogue.operands]
    types = [each for _, each in inputs] + operands + [(tuple(shape), epilogue.dtype)]
    names = [each for each, _ in inputs]
    seen = _seen_as(epilogue, logical) if logical else epilogue
    text = _text(names, seen, logical or shape, body, launch.shared > 0)
    function = f"hago_{name}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    source = f'#include "hago/{body.header}"\n' + text.replace("@NAME@", function)
    with kernel(name) as builder:
        buffers = arguments(" ".join(names), types)
        pointers = [buffer.data for buffer in buffers]
        block, thread = ("blockIdx.x", launch.blocks), ("threadIdx.x", launch.threads)
        with T.launch_thread(*block), T.launch_thread(*thread):
            if launch.shared:
                memory = T.alloc_buffer((launch.shared,), "uint8", scope="shared.dyn")
                pointers.append(memory.data)
            T.evaluate(cuda_func_call(function, *pointers, source_code=source))
    return builder.get().with_attr(_SCHEDULED, True)


def _seen_as(epilogue: Epilogue, shape: Sequence[int]) -> Epilogue:
    """``epilogue`` with operands that are as large as the output in the output's ``shape``."""
    operands = (
        replace(operand, shape=tuple(shape))
        if math.prod(operand.shape) == math.prod(shape)
        else operand
        for operand in epilogue.operands
    )
    return replace(epilogue, operands=tuple(operands))


def _text(
    names: Sequence[str], epilogue: Epilogue, shape: Sequence[int], body: Body, shared: bool
) -> str:
    """The function and what belongs to it alone, in a namespace of its own."""
    operands = [f"p{number}" for number in range(len(epilogue.operands))]
    pointers = [f"const void* __restrict__ {name}" for name in (*names, *operands)]
    pointers.append("void* __restrict__ out")
    c_types = [f"const {C_TYPES[operand.dtype]}*" for operand in epilogue.operands]
    members = [f"static_cast<{c}>({p})" for c, p in zip(c_types, operands, strict=True)]
    members.append(f"static_cast<{C_TYPES[epilogue.dtype]}*>(out)")
    pointers += ["void* shared"] if shared else []
    return "\n".join(
        [
            "namespace @NAME@_parts {",
            epilogue_text(epilogue, shape),
            body.declarations,
            "}",
            f"__device__ __forceinline__ void @NAME@({', '.join(pointers)}) {{",
            "  using namespace @NAME@_parts;",
            f"  const Epilogue epilogue{{{', '.join(members)}}};",
            f"  {body.call}",
            "}",
            "",
        ]
    )

