"""Kernel by kernel: time, arithmetic, memory, and how much of the machine that is (roofline)."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from tvm import ir

from hago.hardware.host import host_spec
from hago.hardware.load import load_spec
from hago.hardware.spec import HardwareSpec
from hago.lower.cost import Cost, read_cost
from hago.lower.lower import lower
from hago.lower.profile import KernelTime, profile_kernels
from hago.report import Json
from hago.scheme import Array
from tests.bench.modules import realized_module
from tests.bench.overhead import Overhead, measure_overhead
from tests.bench.peaks import Peaks, measure_peaks
from tests.bench.reasons import LOW, reason


@dataclass(frozen=True)
class Layer:
    """A kernel of a model: ``milliseconds`` of all its ``calls`` in one run, ``share`` of the run.

    ``gops`` and ``gbps`` are what it achieved, ``roofline`` is the fraction of what the measured
    peaks allow, ``bound`` what that is: products, epilogue, or memory (reading its working set).
    Products are counted as the layer is defined: a transformed convolution, which makes fewer,
    may exceed the peaks.
    """

    name: str
    workload: str
    calls: int
    milliseconds: float
    share: float
    gops: float
    gbps: float
    roofline: float
    bound: str

    @property
    def why(self) -> str:
        """What keeps it under two fifths of the roofline; empty where it is not."""
        if self.roofline >= LOW:
            return ""
        microseconds = self.milliseconds / self.calls * 1e3
        return reason(self.name, self.workload, microseconds)


def bench_layers(arguments: Namespace, console: Console) -> dict[str, Json]:
    """The layers of every model asked for; tables to ``console``, the document is returned."""
    from tests.bench.run import make_task

    spec = load_spec(arguments.hw) if arguments.hw else host_spec()
    clock = time.thread_time if arguments.clock == "cpu" else time.perf_counter
    peaks = measure_peaks(spec)
    _show_peaks(console, peaks)
    models: dict[str, Json] = {}
    for name in arguments.models:
        task = make_task(name, arguments)
        lowered = lower(realized_module(task, spec, arguments.precision), spec)
        inputs = list(task.sample.values())
        layers = profile_layers(lowered, spec, inputs, peaks, clock)
        overhead = measure_overhead(lowered, spec, inputs, arguments.seconds, clock)
        console.print(layer_table(f"{name}, {arguments.precision}", layers))
        _show_reasons(console, layers)
        _show_overhead(console, overhead)
        models[name] = {
            "layers": [{**asdict(layer), "why": layer.why} for layer in layers],
            "overhead": {**asdict(overhead), "share": overhead.share},
        }
    bandwidth: Json = [list(pair) for pair in peaks.bandwidth]
    return {"peak_gops": dict(peaks.gops), "peak_gbps": bandwidth, "models": models}


def profile_layers(
    lowered: ir.IRModule,
    spec: HardwareSpec,
    inputs: Sequence[Array],
    peaks: Peaks,
    clock: Callable[[], float],
) -> tuple[Layer, ...]:
    """The kernels of a lowered module, the slowest first."""
    times = profile_kernels(lowered, spec, inputs, clock=clock)
    return to_layers(times, costs(lowered), peaks)


def costs(lowered: ir.IRModule) -> dict[str, Cost]:
    """What each kernel of a lowered module has to do, by name."""
    return {
        str(var.name_hint): read_cost(function)
        for var, function in lowered.functions_items()
        if str(var.name_hint) != "main"
    }


def to_layers(
    times: Sequence[KernelTime], known: dict[str, Cost], peaks: Peaks
) -> tuple[Layer, ...]:
    """Times and costs joined; what is no kernel (the virtual machine's own) costs nothing."""
    total = sum(time.seconds for time in times)
    nothing = Cost("", 0, 0, "float32")
    return tuple(_layer(time, known.get(time.name, nothing), total, peaks) for time in times)


def _layer(time: KernelTime, cost: Cost, total: float, peaks: Peaks) -> Layer:
    each, bound = time.seconds / time.calls, peaks.bound(cost)
    return Layer(
        name=time.name,
        workload=cost.workload,
        calls=time.calls,
        milliseconds=time.seconds * 1e3,
        share=time.seconds / total,
        gops=cost.operations / each / 1e9,
        gbps=cost.bytes / each / 1e9,
        roofline=bound.seconds / each,
        bound=bound.by,
    )


def layer_table(title: str, layers: Sequence[Layer], least_share: float = 0.002) -> Table:
    """The layers of at least ``least_share``."""
    total = sum(layer.milliseconds for layer in layers)
    least = sum(layer.milliseconds * layer.roofline for layer in layers)
    heading = f"{title}: {total:.2f} ms in kernels, {least / total:.0%} of the roofline"
    table = Table(title=heading, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("kernel")
    table.add_column("workload")
    for column in ("calls", "ms", "share", "Gop/s", "GB/s", "roofline"):
        table.add_column(column, justify="right")
    table.add_column("bound by")
    for layer in layers:
        if layer.share >= least_share:
            table.add_row(
                layer.name, layer.workload, str(layer.calls), f"{layer.milliseconds:.3f}",
                f"{layer.share:.1%}", f"{layer.gops:.0f}", f"{layer.gbps:.1f}",
                f"{layer.roofline:.0%}", layer.bound,
            )  # fmt: skip
    return table


def _show_reasons(console: Console, layers: Sequence[Layer]) -> None:
    """A line for each reason, with the kernels that it keeps low."""
    low = [layer for layer in layers if layer.why]
    for why in dict.fromkeys(layer.why for layer in low):
        names = ", ".join(f"{x.name} {x.roofline:.0%}" for x in low if x.why == why)
        console.print(f"  {why}: {names}", highlight=False)


def _show_overhead(console: Console, overhead: Overhead) -> None:
    console.print(
        f"beside kernels: {overhead.empty_ms * 1e3:.0f} us of {overhead.run_ms:.2f} ms, "
        f"{overhead.share:.1%}\n",
        highlight=False,
    )


def _show_peaks(console: Console, peaks: Peaks) -> None:
    arithmetic = ", ".join(f"{dtype} {gops:.0f} Gop/s" for dtype, gops in peaks.gops.items())
    reading = ", ".join(f"{size >> 10} KiB {speed:.0f} GB/s" for size, speed in peaks.bandwidth)
    console.print(f"peaks of this core: {arithmetic}; reading {reading}", highlight=False)
