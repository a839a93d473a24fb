"""What this machine can do at most, measured now: arithmetic, and reading memory by working set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import flat, store, vector
from hago.codegen.intrin.dot import Dot
from hago.codegen.kernels.product import arguments, defined, kernel
from hago.codegen.select import DOTS
from hago.codegen.tile import cleared
from hago.codegen.workload import Machine
from hago.hardware.spec import HardwareSpec
from hago.lower.cost import Cost, multiplied
from hago.lower.select import machine_of

# Accumulators in flight: two units of four cycles need eight, and sixteen registers hold ten.
_ROWS, _COLUMNS = 5, 2
_RING = 64  # steps of both operands
_STEPS = 1_600 * _RING
_STORED = {"uint16": "bfloat16"}  # what those bits stand for
# Working sets: inside the first and second level, around the third, far beyond.
_SETS = (16 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 128 << 20)


@dataclass(frozen=True)
class Bound:
    """The least ``seconds``, and what takes most of them: products, epilogue or memory."""

    seconds: float
    by: str


@dataclass(frozen=True)
class Peaks:
    """``gops`` by what is multiplied (as ``Cost`` has it; a multiply-add is two operations);
    ``bandwidth`` is (working set in bytes, GB/s) in rising order."""

    gops: dict[str, float]
    bandwidth: tuple[tuple[int, float], ...]

    def bandwidth_for(self, size: int) -> float:
        """GB/s of the smallest measured working set that holds ``size`` bytes."""
        fitting = (speed for limit, speed in self.bandwidth if size <= limit)
        return next(fitting, self.bandwidth[-1][1])

    def bound(self, cost: Cost) -> Bound:
        """The roofline: no kernel that has to do ``cost`` can be faster.

        Products and the epilogue share the ports, so their times add up; memory works beside.
        """
        gops = self.gops.get(cost.dtype) or self.gops.get(cost.dtype.partition(" ")[0])
        products = cost.operations / ((gops or max(self.gops.values())) * 1e9)
        # The peak of float32 counts two operations for an instruction.
        epilogue = cost.epilogue / (self.gops["float32"] / 2 * 1e9)
        memory = cost.bytes / (self.bandwidth_for(cost.bytes) * 1e9)
        parts = {"products": products, "epilogue": epilogue, "memory": memory}
        seconds = max(products + epilogue, memory)
        return Bound(seconds, "memory" if seconds == memory else max(parts, key=parts.__getitem__))


def measure_peaks(spec: HardwareSpec) -> Peaks:
    """One core's peaks with the vectors and instructions of ``spec``."""
    machine = machine_of(spec)
    gops = {}
    for dot in DOTS:
        dtype = multiplied(_STORED.get(dot.data, dot.data), dot.proof)
        if dot.name in machine.instructions and dtype not in gops:
            gops[dtype] = _arithmetic(dot, machine, spec)
    gops.setdefault("uint8", gops.get("int16", gops["float32"]))
    return Peaks(gops, tuple((size, _reading(size, machine, spec)) for size in _SETS))


def _arithmetic(dot: Dot, machine: Machine, spec: HardwareSpec) -> float:
    """Gop/s of dot instructions on a tile of registers, both operands in the first-level cache: no
    two of them multiply the same, or one product would be computed for both."""
    lanes = machine.lanes
    width, count = lanes * dot.depth, _ROWS * _COLUMNS
    sizes = (_RING * _ROWS * dot.depth, _RING * _COLUMNS * width, count * lanes)
    dtypes = (dot.data, dot.weight, dot.accum)
    with kernel("peak") as builder:
        types = [((size,), dtype) for size, dtype in zip(sizes, dtypes, strict=True)]
        a, b, out = (flat(buffer) for buffer in arguments("a b out", types))
        registers = cleared(count, dot.accum, lanes)
        with defined(dot), T.serial(0, _STEPS // _RING), T.serial(0, _RING) as step:
            columns = [
                T.Bind(vector(b, (step * _COLUMNS + column) * width, width))
                for column in range(_COLUMNS)
            ]
            for row in range(_ROWS):
                left = T.Bind(vector(a, (step * _ROWS + row) * dot.depth, dot.depth))
                for register, right in zip(registers[row::_ROWS], columns, strict=True):
                    total = dot.emit(vector(register, 0, lanes), left, right, lanes)
                    store(register, total, 0, lanes)
        for number, register in enumerate(registers):
            store(out, vector(register, 0, lanes), number * lanes, lanes)
    arrays = [np.ones(size, dtype) for size, dtype in zip(sizes, dtypes, strict=True)]
    seconds = _fastest(_compiled(builder.get(), spec), arrays)
    return 2 * _STEPS * count * width / seconds / 1e9


def _reading(size: int, machine: Machine, spec: HardwareSpec) -> float:
    """GB/s of reading ``size`` bytes again and again, in order."""
    lanes, vectors = machine.lanes, 8
    step = lanes * vectors
    count = size // 4 // step
    again = max(1, (64 << 20) // size)
    with kernel("read") as builder:
        data, out = (
            flat(b)
            for b in arguments("data out", [((count * step,), "float32"), ((step,), "float32")])
        )
        totals = [T.alloc_buffer((lanes,), "float32") for _ in range(vectors)]
        for total in totals:
            store(total, tir.Broadcast(tir.const(0.0, "float32"), lanes), 0, lanes)
        with T.serial(0, again), T.serial(0, count) as i:
            for number, total in enumerate(totals):
                loaded = vector(data, i * step + number * lanes, lanes)
                store(total, vector(total, 0, lanes) + loaded, 0, lanes)
        for number, total in enumerate(totals):
            store(out, vector(total, 0, lanes), number * lanes, lanes)
    arrays = np.ones(count * step, np.float32), np.zeros(step, np.float32)
    seconds = _fastest(_compiled(builder.get(), spec), arrays)
    return again * count * step * 4 / seconds / 1e9


def _compiled(function: tir.PrimFunc, spec: HardwareSpec) -> Callable[..., object]:
    name = str(function.attrs["global_symbol"])
    library = tvm.compile(tvm.IRModule({name: function}), tvm.target.Target(spec.target))
    called: Callable[..., object] = library[name]
    return called


def _fastest(call: Callable[..., object], arrays: Sequence[np.ndarray]) -> float:
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    times = []
    for _ in range(6):
        start = time.thread_time()  # one thread, whatever else the machine does
        call(*tensors)
        times.append(time.thread_time() - start)
    return min(times)
