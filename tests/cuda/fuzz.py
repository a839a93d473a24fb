"""Random kernels of every template, on the GPU that a CPU plays, against their meaning.

    python -m tests.cuda.fuzz --hw cuda-sm80 --seed 1 --count 60

prints what fails and how many did; all kernels are one program, so that 60 take a minute. Products
of cuda-sm90a are those of warpgroups, whatever their size.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import ml_dtypes  # noqa: F401  numpy learns bfloat16 and float8_e4m3fn from it

from hago.codegen.workload import (
    BatchMatmul,
    Conv2d,
    Elementwise,
    GroupedMatmul,
    Matmul,
    Permute,
    Pool2d,
    RowReduce,
    Workload,
)
from tests.codegen.recipes import Recipe
from tests.cuda.cases import HARDWARE, Case, case, play
from tests.cuda.test_others import SLACK
from tests.cuda.test_warpgroups import HOPPER, TILES, tiles

_WINDOWS = [(1, 1), (3, 3), (5, 5), (1, 3), (7, 7), (2, 2)]
# TVM's text for bfloat16 and for e4m3 is not played together: one of them a machine.
_FLOATS = {
    "cuda-sm75": (), "cuda-sm80": ("bfloat16",), "cuda-sm90": ("float8_e4m3fn",),
    HOPPER: ("bfloat16",),
}  # fmt: skip
_NIBBLES = {"cuda-sm75": ("int4",), "cuda-sm80": ("int4",), "cuda-sm90": (), HOPPER: ()}
# What epilogues read and give in memory, beside integers and float32.
_CODES = {**dict.fromkeys((*HARDWARE, HOPPER), ()), "cuda-sm90": ("float8_e4m3fn",)}
_EXACT = ("int32", "int8", "uint8")


def convolution(r: random.Random, hardware: str) -> Conv2d:
    dtype = r.choice(["int8", "int8", "float32", *_FLOATS[hardware], *_NIBBLES[hardware]])
    kind = r.choice(["dense", "dense", "grouped", "depthwise", "depthwise"])
    groups, ci = 1, r.choice([1, 3, 4, 8, 16, 24, 33, 64, 80])
    co = r.choice([1, 5, 16, 40, 72, 130])
    if kind == "grouped":
        groups = r.choice([2, 3, 4])
        ci, co = groups * r.choice([1, 4, 6, 16]), groups * r.choice([2, 5, 8])
    if kind == "depthwise" and dtype not in ("float8_e4m3fn", "int4"):
        groups = ci = co = r.choice([2, 3, 4, 8, 12, 20, 33, 64])
    (kh, kw), strides = r.choice(_WINDOWS), (r.randint(1, 3), r.randint(1, 3))
    dilation = r.choice([(1, 1), (1, 1), (2, 2), (1, 2)])
    top, left, bottom, right = (r.randint(0, 3) for _ in range(4))
    h = max(1, dilation[0] * (kh - 1) + 1 - top - bottom) + r.randint(0, 8)
    w = max(1, dilation[1] * (kw - 1) + 1 - left - right) + r.randint(0, 8)
    code = r.choice({"int8": [0, 0, 5, -128], "int4": [0, 5, -8]}.get(dtype, [0]))
    padding = (top, left, bottom, right)
    return Conv2d(r.choice([1, 1, 2]), h, w, ci, co, kh, kw, strides, padding, dilation, groups,
                  dtype, dtype, code)  # fmt: skip


def product(r: random.Random, hardware: str) -> Matmul | BatchMatmul | GroupedMatmul:
    dtype = r.choice(["int8", "int8", "float32", *_FLOATS[hardware]])
    m, n = r.choice([1, 7, 16, 33, 64, 129]), r.choice([1, 6, 8, 35, 64, 100, 257])
    k, kind = r.choice([1, 4, 15, 32, 64, 65, 200, 300]), r.random()
    if kind < 0.4:
        return BatchMatmul(r.choice([1, 3]), m, n, k, dtype, dtype)
    if kind < 0.6 and dtype == "int8":
        size = r.choice([32, 64])
        return GroupedMatmul(m, n, size * r.randint(1, 5), size, dtype, dtype)
    if kind < 0.6 and dtype == "float8_e4m3fn":
        size = r.choice([16, 32, 80])
        return GroupedMatmul(m, n, size * r.randint(1, 5), size, dtype, "int4")
    dtype = r.choice([dtype, *_NIBBLES[hardware]])
    return Matmul(m, n, k, dtype, dtype)


def pool(r: random.Random, hardware: str) -> Pool2d:
    window = (r.randint(1, 7), r.randint(1, 7))
    padding = tuple(r.randint(0, size - 1) for size in (*window, *window))
    h, w = (size + r.randint(0, 6) for size in window)
    channels, strides = r.choice([1, 3, 4, 10, 36, 64]), (r.randint(1, 3), r.randint(1, 3))
    kind, dtype = r.choice(["max", "avg"]), r.choice(["int8", "uint8", "float32"])
    return Pool2d(kind, r.choice([1, 2]), h, w, channels, window, strides, padding, dtype)


def permutation(r: random.Random, hardware: str) -> Permute:
    shape = tuple(r.choice([1, 2, 3, 8, 9, 33, 40]) for _ in range(r.choice([2, 3, 4])))
    axes = tuple(r.sample(range(len(shape)), len(shape)))
    return Permute(shape, axes, r.choice(["int8", "float32"]))


def rows(r: random.Random, hardware: str) -> RowReduce:
    length = r.choice([1, 5, 32, 100, 384, 1000, 1500, 3000])
    kind = r.choice(["softmax", "layer_norm", "rms_norm", "shifted_exp", "sum"])
    data = r.choice(["float32", "uint8", "int8", "bfloat16"]) if kind == "sum" else "float32"
    return RowReduce(kind, r.randint(1, 9), length, 1e-5, data)


def elementwise(r: random.Random, hardware: str) -> Elementwise:
    shape = tuple(r.choice([1, 2, 5, 8, 33]) for _ in range(r.randint(1, 4)))
    return Elementwise(shape, r.choice(["float32", "int8"]))


KINDS: tuple[Callable[[random.Random, str], Workload], ...] = (
    convolution, convolution, product, product, pool, permutation, rows, elementwise,
)  # fmt: skip


def recipe(r: random.Random, hardware: str) -> Recipe:
    return Recipe(
        correction=r.random() < 0.5,
        per_channel=r.random() < 0.7,
        residual=r.choice([None, "int8", "uint8", "float32", *_CODES[hardware]]),
        activation=r.choice(["none", "relu", "relu6", "gelu", "gelu_tanh", "silu", "tanh"]),
        output=r.choice(["float32", "int8", "uint8", *_CODES[hardware]]),
        zero_point=r.choice([0, 3]),
        scale=r.choice([0.01, 0.05, 0.25]),
    )


def any_case(r: random.Random, work: Workload, hardware: str) -> Case:
    if hardware != HOPPER:
        return case(work, recipe(r, hardware), hardware)
    with tiles(r.choice(TILES)):
        return case(work, recipe(r, hardware), hardware)


def failures(hardware: str, seed: int, count: int, folder: Path) -> list[str]:
    """Of ``count`` random kernels, those that do not equal their meaning, and how."""
    r = random.Random(seed)
    workloads = {str(i): r.choice(KINDS)(r, hardware) for i in range(count)}
    cases = {name: any_case(r, work, hardware) for name, work in workloads.items()}
    program, names = play(cases, hardware, folder)
    found = []
    for name, work in workloads.items():
        exact = getattr(work, "accum", "") in _EXACT and not isinstance(work, GroupedMatmul)
        try:
            cases[name].check(program, names[name], 0.0 if exact else SLACK, r.randint(1, 99))
        except AssertionError as error:
            found.append(f"{work} with {cases[name].epilogue}: {error}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cuda.fuzz", description=__doc__)
    parser.add_argument("--hw", default="cuda-sm80", choices=(*HARDWARE, HOPPER))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = failures(arguments.hw, arguments.seed, arguments.count, Path(scratch))
    for line in found:
        print(line)
    print(f"{arguments.hw}, seed {arguments.seed}: {len(found)} of {arguments.count} failed")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
