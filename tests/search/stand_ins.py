"""A small network, and a runner whose latencies are computed instead of measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tvm import ir

from hago.annotate.constants import constant_edges
from hago.dataflow import read_dataflow
from hago.deploy.artifact import write_artifact
from hago.deploy.manifest import Manifest, read_manifest
from hago.graph import QuantGraph
from hago.methods.assign import assign_numbers
from hago.realize import interpret
from hago.scheme import QuantScheme
from hago.search.goal import Goal
from hago.search.grouping import build_space
from hago.search.numbers import Numbers
from hago.search.outcome import Outcome
from hago.search.request import Effort, Request
from hago.search.runner import TrialError
from hago.search.work import Setting, Verified, time_segment
from tests.graphs import all_values, input_for
from tests.onnx_models import node, normal, save

MACHINE = "x86-avx2"
TRIALS = Effort(budget_s=1e6, trials=10, seed=3)


def network(path: Path) -> Path:
    """Three convolutions with a residual, a mean, and a dense layer: ``x`` [1, 4, 8, 8]."""
    nodes = [
        node("Conv", "x w0", "c0", pads=[1, 1, 1, 1]),
        node("Relu", "c0", "r0"),
        node("Conv", "r0 w1", "c1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2", "c2"),
        node("Add", "c2 r0", "a"),
        node("GlobalAveragePool", "a", "m"),
        node("Flatten", "m", "f"),
        node("MatMul", "f w3", "y"),
    ]
    shapes = {"w0": (8, 4, 3, 3), "w1": (8, 8, 3, 3), "w2": (8, 8, 1, 1), "w3": (8, 5)}
    weights = {name: normal(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    return save(path, nodes, {"x": [1, 4, 8, 8]}, weights)


def samples(count: int = 8) -> list[dict[str, np.ndarray]]:
    return [{"x": normal(1, 4, 8, 8, seed=100 + number)} for number in range(count)]


def request_of(folder: Path, goal: Goal | None = None, **changes: object) -> Request:
    goal = goal or Goal("latency", max_drop=5e-4)
    model = network(folder / "network.onnx")
    options = {"metric": "sqnr", "samples": 4, "cache": folder / "latencies", **changes}
    return Request(model, MACHINE, samples(), goal, **options)  # type: ignore[arg-type]


def told(outcome: Outcome) -> list[dict[str, object]]:
    """The records without what the clock says."""
    return [{**asdict(record), "seconds": 0} for record in outcome.records]


class ComputedRunner:
    """Runs nothing: latencies are a function of the module, outputs are the interpreter's.

    ``failing`` says by number which calls fail, ``stopping`` which are interrupted.
    """

    slots = 1

    def __init__(
        self,
        failing: Callable[[int], bool] = lambda number: False,
        stopping: Callable[[int], bool] = lambda number: False,
    ) -> None:
        self.failing, self.stopping, self.calls = failing, stopping, 0

    def submit(self, call: Callable[..., object], *args: object) -> Future[object]:
        self.calls += 1
        if self.stopping(self.calls):
            raise KeyboardInterrupt
        future: Future[object] = Future()
        if self.failing(self.calls):
            future.set_exception(TrialError("verify: the worker died", fact="signal 11"))
        else:
            computed = computed_latency if call is time_segment else computed_artifact
            future.set_result(computed(*args))
        return future

    def close(self) -> None:
        """Nothing was started."""


def computed_latency(module: ir.IRModule, setting: Setting) -> float:
    """In ms: products on codes are four times as fast, everything else takes little."""
    total = 0.0
    for each in read_dataflow(module).nodes:
        factor = 1e-6
        if each.op in ("nn.conv2d", "matmul"):
            dtype = str(each.value.args[0].ty.dtype)
            factor = 4e-4 if dtype == "float32" else 1e-4
        total += factor * math.prod(each.shape)
    return total


def computed_artifact(
    module: ir.IRModule,
    setting: Setting,
    manifest: Manifest,
    folder: Path,
    samples: list[dict[str, np.ndarray]],
    compressed: bool,
    beside: Path | None,
) -> Verified:
    constants = sum(
        value.nbytes for each in read_dataflow(module).nodes for value in each.constants.values()
    )
    library = b"\0" * constants
    write_artifact(
        folder, lambda path: path.write_bytes(library) and None, manifest, compressed=compressed
    )
    (param,) = (str(p.name) for p in module["main"].params)
    outputs = tuple({"y": interpret(module, {param: s["x"]})[0]} for s in samples)
    other = None if beside is None else read_manifest(beside).latency_ms.get("median")
    return Verified(computed_latency(module, setting), outputs, other)


def numbers_of(graph: QuantGraph) -> Numbers:
    """Ranges from one input, for every level."""
    space = build_space(graph)
    values = all_values(graph.module, input_for(graph.module))

    def range_of(src: str, _: QuantScheme) -> tuple[float, float]:
        return float(values[src].min()), float(values[src].max())

    levels = [
        assign_numbers(graph, space.strategy(level), range_of, constant_edges(graph))
        for level in space.levels()
    ]
    return Numbers(space, graph, tuple(levels))
