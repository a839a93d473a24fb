"""How fast products are on the GPU that is there, beside PyTorch's own and the roofline.

    python -m tests.gpu [--hw cuda-sm90] [--json FILE]

Peers: torch._int_mm for int8 and int4 (torch multiplies no 4 bits), torch._scaled_mm for e4m3,
torch.matmul for bfloat16; for convolutions, torch's in bfloat16 and channels_last (it has none of
integers). Operands are the same
size, results are int32, or bfloat16 where a peer gives nothing wider. Each time is the median of
20 turns of 10 calls; contestants take turns. The roofline is the specification's rate, times
multiprocessors and clock of the GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  numpy learns bfloat16 and float8_e4m3fn from it
import numpy as np
from rich.console import Console
from rich.table import Table

from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import Conv2d, Kernel, Matmul
from hago.hardware.gpu import gpu_capability
from hago.hardware.load import load_spec
from hago.lower.cost import operations
from hago.lower.select import build_kernel, find_template, machine_of
from tests.gpu.board import Board, board

INT4 = {"data": "int4", "weight": "int4"}
INT8 = {"data": "int8", "weight": "int8"}
E4M3 = {"data": "float8_e4m3fn", "weight": "float8_e4m3fn"}
BF16 = {"data": "bfloat16", "weight": "bfloat16"}
_TURNS, _CALLS = 20, 10
_SIZES = {
    "square": (4096, 4096, 4096), "BERT base, 32x128": (4096, 3072, 768), "row": (16, 4096, 4096),
}  # fmt: skip
_CONVS = {
    "ResNet-50 3x3, 56x56, batch 32": (32, 56, 56, 64, 64, 3, 3, (1, 1), (1, 1, 1, 1)),
    "ResNet-50 3x3, 14x14, batch 32": (32, 14, 14, 256, 256, 3, 3, (1, 1), (1, 1, 1, 1)),
}
Call = Callable[[], object]


def workloads() -> dict[str, Matmul | Conv2d]:
    found: dict[str, Matmul | Conv2d] = {}
    for dtype, types in (("int4", INT4), ("int8", INT8), ("e4m3", E4M3), ("bfloat16", BF16)):
        for name, size in _SIZES.items():
            found[f"{dtype} {name}"] = Matmul(*size, **types)
    for name, shape in _CONVS.items():
        found[f"int8 {name}"] = Conv2d(*shape, **INT8)
    return found


def own_call(built: Board, name: str, kernel: Kernel, workload: Matmul | Conv2d) -> Call:
    """One launch on tensors that are there already; contents do not matter."""
    shapes = [(tuple(map(int, p.ty.shape)), str(p.ty.dtype)) for p in kernel.func.params]
    tensors = [built.memory.enter(np.zeros(shape, dtype)) for shape, dtype in shapes]
    function = built.module[name]
    return lambda: function(*tensors)


def peer_call(torch: Any, workload: Matmul | Conv2d) -> Call:
    if isinstance(workload, Conv2d):
        return _convolution(torch, workload)
    m, n, k = workload.m, workload.n, workload.k
    if workload.data in ("int8", "int4"):
        rows = max(m, 32)  # _int_mm refuses fewer than 17
        a = torch.ones((rows, k), dtype=torch.int8, device="cuda")
        b = torch.ones((n, k), dtype=torch.int8, device="cuda").t()
        return lambda: torch._int_mm(a, b)
    if workload.data == "bfloat16":
        a, b = (torch.ones(s, dtype=torch.bfloat16, device="cuda") for s in ((m, k), (k, n)))
        return lambda: torch.matmul(a, b)
    one = torch.ones((), device="cuda")
    a, b = (torch.ones(s, device="cuda").to(torch.float8_e4m3fn) for s in ((m, k), (n, k)))
    return lambda: torch._scaled_mm(a, b.t(), one, one, out_dtype=torch.bfloat16)


def _convolution(torch: Any, workload: Conv2d) -> Call:
    last = {"dtype": torch.bfloat16, "device": "cuda"}
    image = torch.ones((workload.n, workload.ci, workload.h, workload.w), **last)
    weight = torch.ones((workload.co, workload.ci, workload.kh, workload.kw), **last)
    image, weight = (t.to(memory_format=torch.channels_last) for t in (image, weight))
    padding = workload.padding[:2]
    return lambda: torch.nn.functional.conv2d(image, weight, padding=padding)


def milliseconds(torch: Any, calls: list[Call]) -> list[float]:
    """The median time of one call of each."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(_TURNS + 2):  # two to warm up
        for call, found in zip(calls, times, strict=True):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(_CALLS):
                call()
            end.record()
            torch.cuda.synchronize()
            if turn > 1:
                found.append(start.elapsed_time(end) / _CALLS)
    return [statistics.median(found) for found in times]


def roofline(torch: Any, hardware: str, workload: Matmul | Conv2d) -> float:
    """Milliseconds at the rate that the specification's row names."""
    names = {"int4": "int4", "int8": "int8", "bfloat16": "bfloat16", "float8_e4m3fn": "float8_e4m3"}
    rows = [
        row
        for row in load_spec(hardware).ops
        if row.op == "matmul" and str(row.inputs[0].dtype) == names[workload.data]
    ]
    facts = torch.cuda.get_device_properties(0)
    clock = getattr(facts, "clock_rate", 0) * 1e3 or 1.98e9  # an H200's boost clock
    return operations(workload) / (rows[0].throughput * facts.multi_processor_count * clock) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("--hw", default="cuda-sm90")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    device = machine_of(load_spec(arguments.hw))
    if gpu_capability() < device.capability:
        parser.error(f"no NVIDIA GPU of sm_{device.capability} here: nothing can be measured")
    import torch  # the peer

    known = {n: w for n, w in workloads().items() if find_template(w, device) is not None}
    kernels = {
        f"k{i}": build_kernel(w, Epilogue(w.accum, w.accum), device)
        for i, w in enumerate(known.values())
    }
    with tempfile.TemporaryDirectory() as scratch:
        built = board(kernels, arguments.hw, Path(scratch))
        found = _measured(torch, built, kernels, known, arguments.hw)
    _print(found)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def _measured(
    torch: Any,
    built: Board,
    kernels: Mapping[str, Kernel],
    known: Mapping[str, Matmul | Conv2d],
    hardware: str,
) -> dict[str, dict[str, float]]:
    found = {}
    for (name, workload), (symbol, kernel) in zip(known.items(), kernels.items(), strict=True):
        calls = [own_call(built, symbol, kernel, workload), peer_call(torch, workload)]
        own, peer = milliseconds(torch, calls)
        found[name] = {"hago": own, "torch": peer, "roofline": roofline(torch, hardware, workload)}
    return found


def _print(found: Mapping[str, Mapping[str, float]]) -> None:
    table = Table("product", "hago", "torch", "speed-up", "of the roofline")
    for name, times in found.items():
        own, peer, least = (times[key] for key in ("hago", "torch", "roofline"))
        row = f"{own:.4f} ms", f"{peer:.4f} ms", f"{peer / own:.2f} x", f"{least / own:.0%}"
        table.add_row(name, *row)
    Console().print(table)


if __name__ == "__main__":
    main()
