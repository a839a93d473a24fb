"""The x86 machines that templates are tested on, and how to build and run one PrimFunc."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tvm

from hago.codegen.passes import CPU_PIPELINE
from hago.codegen.workload import Kernel, Machine
from hago.pairs import within_pairs

MACHINES = {
    "vnni": Machine(64, frozenset({"vpdpbusd", "vfmadd"})),
    "avx512": Machine(64, frozenset({"vpmaddwd", "vfmadd"})),
    "avx2": Machine(32, frozenset({"vpmaddubsw", "vpmaddwd", "vfmadd"}), 16),
}
_MCPU = {"vnni": "cascadelake", "avx512": "skylake-avx512", "avx2": "haswell"}
_FLAGS = {"vnni": "avx512_vnni", "avx512": "avx512bw", "avx2": "avx2"}


def cpu_flags() -> frozenset[str]:
    """The features of this CPU in the kernel's words; empty where there is no /proc/cpuinfo."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return frozenset()
    lines = (line for line in info.read_text().splitlines() if line.startswith("flags"))
    return frozenset(next(lines, ":").split(":")[1].split())


def machine(isa: str) -> Machine:
    """The machine called ``isa``; the test is skipped where this CPU cannot run it."""
    if _FLAGS[isa] not in cpu_flags():
        pytest.skip(f"this CPU has no {_FLAGS[isa]}: {isa} kernels cannot run here")
    return MACHINES[isa]


def compiled(kernel: Kernel, isa: str) -> tvm.runtime.Module:
    func = kernel.func.with_attr("global_symbol", "main")
    target = {"kind": "llvm", "mcpu": _MCPU[isa]}
    return tvm.compile(tvm.IRModule({"main": func}), target, tir_pipeline=CPU_PIPELINE)


def run(kernel: Kernel, isa: str, inputs: Sequence[np.ndarray], output: np.ndarray) -> np.ndarray:
    """Build ``kernel`` and run it; ``output`` gives shape and dtype, and is filled before."""
    poisoned = np.full_like(output, 77)
    # A scalar would become one-dimensional.
    arguments = [tvm.runtime.tensor(np.array(a, order="C")) for a in (*inputs, poisoned)]
    compiled(kernel, isa)["main"](*arguments)
    return arguments[-1].numpy()


def random_tensor(random: np.random.Generator, shape: Sequence[int], dtype: str) -> np.ndarray:
    """Full-range codes (``int8_pairs``: as large as pairs may be, ``int4``: -8..7, in int8) or
    normal floats, extremes over-represented."""
    bounds = {"uint8": (0, 255), "int8": (-128, 127), "int8_pairs": (-127, 127), "int4": (-8, 7)}
    if dtype not in bounds:
        return random.normal(size=shape).astype(dtype)
    low, high = bounds[dtype]
    values = random.integers(low, high + 1, shape)
    extreme = random.random(shape) < 0.2
    values[extreme] = random.choice([low, high], size=int(extreme.sum()))
    codes = values.astype("uint8" if dtype == "uint8" else "int8")
    return within_pairs(codes) if dtype == "int8_pairs" else codes
