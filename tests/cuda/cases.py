"""Workloads with random arrays, their kernels for a GPU, and what must come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import BatchMatmul, Conv2d, Kernel, Matmul, Workload, convolve
from hago.hardware.load import load_spec
from hago.lower.select import build_kernel, machine_of
from tests.codegen.isa import random_tensor
from tests.codegen.judge import assert_equal
from tests.codegen.recipes import Recipe
from tests.cuda.gpu import Program, program, run, source

HARDWARE = ("cuda-sm75", "cuda-sm80", "cuda-sm90")


@dataclass(frozen=True, eq=False)
class Case:
    """A kernel with its ``inputs`` (weights packed), and the ``accumulator`` that it must have."""

    kernel: Kernel
    inputs: list[np.ndarray]
    accumulator: np.ndarray
    epilogue: Epilogue
    operands: list[np.ndarray]

    def check(self, built: Program, name: str, slack: float, seed: int = 1) -> None:
        """Runs the kernel, called ``name`` in ``built``; ``slack`` is a float accumulator's."""
        output = np.full(self.accumulator.shape, 77, self.epilogue.dtype)
        run(self.kernel, built, name, [*self.inputs, *self.operands, output], seed)
        assert_equal(output, self.epilogue, self.accumulator, self.operands, slack)


def product_case(workload: Matmul | Conv2d | BatchMatmul, recipe: Recipe, hardware: str) -> Case:
    """A product of random operands of the dtypes that ``workload`` names."""
    random = np.random.default_rng(0)
    data = random_tensor(random, _data_shape(workload), workload.data)
    weight = random_tensor(random, _weight_shape(workload), workload.weight)
    exact = _product(workload, data, weight)
    accumulator = exact.astype(workload.accum)
    epilogue, operands = recipe.build(accumulator, random)
    kernel = build_kernel(workload, epilogue, machine_of(load_spec(hardware)))
    packed = weight if kernel.pack is None else kernel.pack(weight)
    return Case(kernel, [data, packed], accumulator, epilogue, operands)


def _data_shape(workload: Workload) -> tuple[int, ...]:
    match workload:
        case Matmul(m=m, k=k):
            return m, k
        case BatchMatmul(batch=batch, m=m, k=k):
            return batch, m, k
        case Conv2d(n=n, h=h, w=w, ci=ci):
            return n, h, w, ci
    raise TypeError(workload)


def _weight_shape(workload: Workload) -> tuple[int, ...]:
    match workload:
        case Matmul(n=n, k=k):
            return k, n
        case BatchMatmul(batch=batch, n=n, k=k):
            return batch, k, n
        case Conv2d(co=co, kh=kh, kw=kw, ci=ci, groups=groups):
            return co, kh, kw, ci // groups
    raise TypeError(workload)


def _product(workload: Workload, data: np.ndarray, weight: np.ndarray) -> np.ndarray:
    if isinstance(workload, Conv2d):
        return convolve(workload, data, weight)
    wide = np.int64 if data.dtype.kind in "iu" else np.float64
    return data.astype(wide) @ weight.astype(wide)


def play(cases: Mapping[str, Case], hardware: str, folder: Path) -> tuple[Program, dict[str, str]]:
    """All ``cases`` in one program, and what each kernel is called there."""
    text = source([case.kernel for case in cases.values()], hardware)
    capability = machine_of(load_spec(hardware)).capability
    return program(text, capability, folder), {name: f"k{i}" for i, name in enumerate(cases)}
