"""Workloads with random arrays, their kernels for a GPU, and what must come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import special

from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import (
    BatchMatmul,
    Conv2d,
    Elementwise,
    GroupedMatmul,
    Kernel,
    Matmul,
    Permute,
    Pool2d,
    RowReduce,
    Table,
    Workload,
    convolve,
)
from hago.float8 import round_float8
from hago.hardware.load import load_spec
from hago.lower.select import build_kernel, machine_of
from tests.codegen.isa import random_tensor
from tests.codegen.judge import assert_equal
from tests.codegen.recipes import Recipe
from tests.cuda.gpu import Program, program, run, source

HARDWARE = ("cuda-sm75", "cuda-sm80", "cuda-sm90")
# Whose kernels are played; those of the others are the same (test_alike.py) but for 8-bit floats
# (test_fp8.py, test_decoded.py) and products of warpgroups (test_warpgroups.py).
PLAYED = ("cuda-sm75", "cuda-sm80")
BY_WARPS = (*HARDWARE, "cuda-sm89")
MACHINES = (*BY_WARPS, "cuda-sm90a")


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


def case(workload: Workload, recipe: Recipe, hardware: str) -> Case:
    """``workload`` on random inputs of its dtypes."""
    random = np.random.default_rng(0)
    inputs = [random_tensor(random, *each) for each in inputs_of(workload)]
    accumulator = meaning(workload, inputs)
    epilogue, operands = recipe.build(accumulator, random)
    kernel = build_kernel(workload, epilogue, machine_of(load_spec(hardware)))
    if kernel.pack is not None:
        inputs[-1] = kernel.pack(inputs[-1])
    return Case(kernel, inputs, accumulator, epilogue, operands)


def inputs_of(workload: Workload) -> list[tuple[tuple[int, ...], str]]:
    """Shapes and dtypes of what a kernel reads in front of its epilogue's operands."""
    match workload:
        case Matmul(m=m, n=n, k=k, data=data, weight=weight):
            return [((m, k), data), ((k, n), weight)]
        case GroupedMatmul(m=m, n=n, k=k, groups=groups, data=data, weight=weight):
            return [((m, k), data), ((groups, n), "float32"), ((k, n), weight)]
        case BatchMatmul(batch=batch, m=m, n=n, k=k, data=data, weight=weight):
            return [((batch, m, k), data), ((batch, k, n), weight)]
        case Conv2d(n=n, h=h, w=w, ci=ci, co=co, kh=kh, kw=kw):
            weights = (co, kh, kw, ci // workload.groups), workload.weight
            is_decoded = (workload.data, workload.weight) == ("float8_e4m3fn", "int4")
            scales = [((1, co), "float32")] if is_decoded else []
            return [((n, h, w, ci), workload.data), *scales, weights]
        case Pool2d(n=n, h=h, w=w, c=c, data=data):
            return [((n, h, w, c), data)]
        case RowReduce(rows=rows, length=length, data=data):
            return [((rows, length), data), *[((length,), "float32")] * len(workload.parameters)]
        case Table(shape=shape, data=data, gives=gives):
            return [(shape, data), ((256,), gives)]
        case Elementwise(shape=shape, data=data) | Permute(shape=shape, data=data):
            return [(shape, data)]
    raise TypeError(workload)


def meaning(workload: Workload, inputs: list[np.ndarray]) -> np.ndarray:
    """The accumulator: what the kernel computes without its epilogue."""
    first = inputs[0]
    match workload:
        case Conv2d(data="float8_e4m3fn", weight="int4"):
            real = inputs[2].astype(np.float32) * inputs[1].reshape(-1, 1, 1, 1)
            weight = round_float8(real, "float8_e4m3").astype(workload.data)
            plain = replace(workload, weight=workload.data)
            return convolve(plain, first, weight).astype(workload.accum)
        case Conv2d():
            return convolve(workload, *inputs).astype(workload.accum)
        case Matmul() | BatchMatmul():
            wide = np.int64 if workload.accum == "int32" else np.float64
            return (first.astype(wide) @ inputs[1].astype(wide)).astype(workload.accum)
        case GroupedMatmul(data="float8_e4m3fn", group=group):
            real = inputs[2].astype(np.float32) * np.repeat(inputs[1], group, axis=0)
            weight = round_float8(real, "float8_e4m3").astype(np.float64)
            return (first.astype(np.float64) @ weight).astype(np.float32)
        case GroupedMatmul(m=m, n=n, group=group, groups=groups):
            parts = first.reshape(m, groups, group).swapaxes(0, 1).astype(np.int64)
            sums = parts @ inputs[2].reshape(groups, group, n).astype(np.int64)
            return (sums * inputs[1][:, None].astype(np.float64)).sum(0).astype(np.float32)
        case Pool2d():
            return _pooled(workload, first)
        case RowReduce():
            return _reduced(workload, *(each.astype(np.float64) for each in inputs))
        case Table(data=data):
            return inputs[1][first.astype(np.int32) - np.iinfo(data).min]
        case Permute(axes=axes):
            return np.ascontiguousarray(first.transpose(axes))
    return first


def _reduced(workload: RowReduce, data: np.ndarray, *affine: np.ndarray) -> np.ndarray:
    if workload.kind == "softmax":
        exact = special.softmax(data, axis=-1)
    elif workload.kind == "shifted_exp":
        exact = np.exp(data - data.max(-1, keepdims=True))
    elif workload.kind == "sum":
        exact = data.sum(-1, keepdims=True)
    elif workload.kind == "rms_norm":
        root = np.sqrt(np.square(data).mean(-1, keepdims=True) + workload.epsilon)
        exact = data / root * affine[0]
    else:
        gamma, beta = affine
        centred = data - data.mean(-1, keepdims=True)
        exact = centred / np.sqrt(data.var(-1, keepdims=True) + workload.epsilon) * gamma + beta
    return exact.astype(workload.accum)


def _pooled(workload: Pool2d, data: np.ndarray) -> np.ndarray:
    """The largest, or the sum, of what each window has of the image."""
    n, oh, ow, c = workload.output_shape
    result = np.zeros((n, oh, ow, c), workload.accum)
    for y in range(oh):
        for x in range(ow):
            top = y * workload.strides[0] - workload.padding[0]
            left = x * workload.strides[1] - workload.padding[1]
            rows = slice(max(top, 0), top + workload.window[0])
            columns = slice(max(left, 0), left + workload.window[1])
            part = data[:, rows, columns].astype(workload.accum)
            result[:, y, x] = part.max((1, 2)) if workload.kind == "max" else part.sum((1, 2))
    return result


def play(cases: Mapping[str, Case], hardware: str, folder: Path) -> tuple[Program, dict[str, str]]:
    """All ``cases`` in one program, and what each kernel is called there."""
    text = source([case.kernel for case in cases.values()], hardware)
    capability = machine_of(load_spec(hardware)).capability
    return program(text, capability, folder), {name: f"k{i}" for i, name in enumerate(cases)}


def play_each(
    works: Mapping[str, tuple[Workload, Recipe]], hardware: str, folder: Path
) -> tuple[dict[str, Case], Program, dict[str, str]]:
    """The cases of ``works``, and what :func:`play` makes of them."""
    cases = {name: case(*each, hardware) for name, each in works.items()}
    return cases, *play(cases, hardware, folder)
