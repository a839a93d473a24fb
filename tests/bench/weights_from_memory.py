"""Matrix products of one row whose weights come from memory, as in language models at batch 1.

    taskset -c 0 python -m tests.bench.weights_from_memory [--n 4096] [--k 4096] [--group 128]

Each contestant has as many copies of its packed weights as make ``--bytes`` (1 GB), takes the next
one at each call, and so never finds them in a cache. The contestants' calls are interleaved, so
that whatever else the computer does is shared by all; medians are reported, of one thread.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tvm
from rich.console import Console
from rich.table import Table

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.codegen.passes import CPU_PIPELINE
from hago.codegen.workload import GroupedMatmul, Kernel, Machine, Matmul
from hago.hardware.host import missing_features
from hago.hardware.load import load_spec
from hago.hardware.spec import HardwareSpec
from hago.lower.select import build_kernel, machine_of
from hago.pairs import within_pairs
from hago.scheme import BFLOAT16_ARRAY, Array

_CLOCKS = {"wall": time.perf_counter, "cpu": time.thread_time}
_FLOATS = {"float32": np.dtype(np.float32), "bfloat16": BFLOAT16_ARRAY}
_MACHINES = ("x86-bf16", "x86-vnni", "x86-avx2")  # what has bfloat16 first


@dataclass(frozen=True, eq=False)
class Contestant:
    """A built kernel on ``copies`` of its weights; ``bytes`` are those of one, with scales."""

    name: str
    call: Callable[[int], None]
    copies: int
    bytes: int


def contestants(n: int, k: int, group: int, total: int) -> list[Contestant]:
    """Weights of 4 bits in groups and per channel, of 8 bits as the machine prefers them, float32,
    and bfloat16 where the CPU multiplies it.

    A CPU that does not could read it at the rate of float32 at best, in half of the time.
    """
    spec = next(spec for spec in map(load_spec, _MACHINES) if not missing_features(spec))
    preferred = str(spec.rows("matmul")[0].inputs[1].dtype)
    scaled = Epilogue(
        "int32", "float32", (Operand((n,), "float32"),),
        (Step("float", (0,)), Step("multiply", (2, 1))),
    )  # fmt: skip
    plain = Epilogue("float32", "float32")
    work: dict[str, tuple[Matmul | GroupedMatmul, Epilogue]] = {
        f"int4, groups of {group}": (GroupedMatmul(1, n, k, group, "uint8", "int4"), plain),
        "int4, per channel": (Matmul(1, n, k, "uint8", "int4"), scaled),
        "int8": (Matmul(1, n, k, "uint8", preferred), scaled),
        "float32": (Matmul(1, n, k, "float32", "float32"), plain),
    }
    if "avx512_bf16" in spec.features:
        work["bfloat16"] = (Matmul(1, n, k, "bfloat16", "bfloat16"), plain)
    return [_contestant(name, *each, spec, total) for name, each in work.items()]


def _contestant(
    name: str, work: Matmul | GroupedMatmul, epilogue: Epilogue, spec: HardwareSpec, total: int
) -> Contestant:
    machine = machine_of(spec)
    assert isinstance(machine, Machine), spec.name
    kernel = build_kernel(work, epilogue, machine)
    run = _compiled(kernel, spec)
    row, constants = _arguments(work, kernel)
    size = sum(constant.nbytes for constant in constants)
    copies = -(-total // size)
    weights = [tuple(map(tvm.runtime.tensor, constants)) for _ in range(copies)]
    data = tvm.runtime.tensor(row)
    output = tvm.runtime.tensor(np.zeros((1, work.n), np.float32))

    def call(number: int) -> None:
        run(data, *weights[number % copies], output)

    return Contestant(name, call, copies, size)


def _compiled(kernel: Kernel, spec: HardwareSpec) -> Callable[..., None]:
    module = tvm.IRModule({"main": kernel.func.with_attr("global_symbol", "main")})
    return tvm.compile(module, spec.target, tir_pipeline=CPU_PIPELINE)["main"]


def _arguments(work: Matmul | GroupedMatmul, kernel: Kernel) -> tuple[Array, list[Array]]:
    """The row; packed weights and scales in the kernel's order."""
    random = np.random.default_rng(0)
    real = random.normal(size=(work.k, work.n))
    assert kernel.pack is not None
    if work.data in _FLOATS:
        dtype = _FLOATS[work.data]
        return random.normal(size=(1, work.k)).astype(dtype), [kernel.pack(real.astype(dtype))]
    bound = 7 if work.weight == "int4" else 127
    codes = within_pairs(np.clip(np.rint(real * bound / 3), -bound, bound).astype(np.int8))
    row = random.integers(0, 256, (1, work.k)).astype(np.uint8)
    if isinstance(work, GroupedMatmul):
        assert kernel.pack_scales is not None
        scales = kernel.pack_scales(np.ones((work.groups, work.n), np.float32))
        return row, [scales, kernel.pack(codes)]
    return row, [kernel.pack(codes), np.ones(work.n, np.float32)]


def measure(
    rivals: list[Contestant], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each call, by name; every round calls each contestant some times."""
    seconds: dict[str, list[float]] = {rival.name: [] for rival in rivals}
    numbers = dict.fromkeys(seconds, 0)
    each = max(rival.copies for rival in rivals) // rounds + 1
    gc.disable()
    for _ in range(rounds):
        for rival in rivals:
            for _ in range(each):
                start = clock()
                rival.call(numbers[rival.name])
                seconds[rival.name].append(clock() - start)
                numbers[rival.name] += 1
    gc.enable()
    return seconds


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.weights_from_memory", description=__doc__
    )
    for name, default in (("n", 4096), ("k", 4096), ("group", 128), ("bytes", 2**30),
                          ("rounds", 40)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--clock", choices=_CLOCKS, default="wall",
                        help="cpu: the thread's CPU time, for a busy machine")  # fmt: skip
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rivals = contestants(arguments.n, arguments.k, arguments.group, arguments.bytes)
    seconds = measure(rivals, arguments.rounds, _CLOCKS[arguments.clock])
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    if arguments.json:
        print(json.dumps({"seconds": medians, "bytes": {r.name: r.bytes for r in rivals}}))
        return
    table = Table(title=f"1x{arguments.n}x{arguments.k}, weights from memory, one thread")
    for heading in ("weights", "median us", "GB/s", "faster than int8", "than bfloat16",
                    "than float32"):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "weights" else "right")
    for rival in rivals:
        own = medians[rival.name]
        ratios = [f"{medians[other] / own:.2f}" if other in medians else "-"
                  for other in ("int8", "bfloat16", "float32")]  # fmt: skip
        table.add_row(rival.name, f"{own * 1e6:.0f}", f"{rival.bytes / own / 1e9:.1f}", *ratios)
    Console().print(table)


if __name__ == "__main__":
    main()
