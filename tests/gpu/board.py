"""Kernels on the GPU that is there. Tests are skipped where there is none, and say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm

from hago.codegen.workload import Kernel
from hago.deploy.device_code import export_for_gpu
from hago.deploy.memory import GpuMemory
from hago.deploy.runtime import load_gpu_runtime
from hago.hardware.gpu import gpu_capability, gpu_features
from hago.hardware.load import load_spec
from hago.lower.build import build_kernels
from hago.lower.linker import link_shared
from tests.cuda.ptx import require_nvcc


def require_gpu(hardware: str) -> None:
    """Skips the test where no GPU runs code of the machine ``hardware``."""
    needed = set(load_spec(hardware).features)
    if not needed <= gpu_features():
        found = gpu_capability() or "none"
        pytest.skip(f"needs an NVIDIA GPU for {', '.join(needed)} (here: {found}): tests/cuda runs "
                    "the same kernels on a CPU that plays one")  # fmt: skip
    require_nvcc()


@dataclass(frozen=True, eq=False)
class Board:
    """Kernels in a library on the GPU, by name."""

    module: Any
    memory: GpuMemory

    def run(
        self, name: str, inputs: Sequence[np.ndarray], output: np.ndarray
    ) -> np.ndarray:
        """What kernel ``name`` writes to memory like ``output``, which is filled before."""
        tensors = [self.memory.enter(array) for array in (*inputs, np.full_like(output, 77))]
        self.module[name](*tensors)
        return self.memory.leave(tensors[-1:])[0]


def board(kernels: Mapping[str, Kernel], hardware: str, folder: Path) -> Board:
    """``kernels`` built for a machine and loaded onto the GPU."""
    spec = load_spec(hardware)
    named = {n: k.func.with_attr("global_symbol", n) for n, k in kernels.items()}
    path = folder / "kernels.so"
    export_for_gpu(lambda: build_kernels(tvm.IRModule(named), spec), spec, path, link_shared)
    runtime = load_gpu_runtime()
    return Board(runtime.load_module(str(path)), GpuMemory(runtime))
