"""A small network with weights of few bits, for methods that learn."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from tvm import ir, relax

from hago.accuracy import sqnr_db
from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.annotate.narrow import WeightFormat, narrow_weights
from hago.calibrate import Stats
from hago.gradient import over_samples, read_program
from hago.gradient.fake_quantize import model_hooks
from hago.graph import QuantModel
from hago.hardware.spec import HardwareSpec
from hago.methods.assign import assign_numbers
from tests.graphs import Builder, all_values, machine

SAMPLES = 24


def bottleneck() -> ir.IRModule:
    """An inverted bottleneck with its shortcut, and a layer after it."""
    b = Builder(1, 6, 6, 6)
    wide = b.emit("relu", relax.op.nn.relu(b.conv("expand", b.input, 12, kernel=1)))
    deep = b.conv("depthwise", wide, 12, padding=1, groups=12)
    thin = b.conv("project", b.emit("relu_1", relax.op.nn.relu(deep)), 6, kernel=1)
    joined = b.emit("join", relax.op.add(b.input, thin))
    return b.done(b.conv("last", joined, 8, kernel=1))


def samples(module: ir.IRModule, count: int = SAMPLES, seed: int = 1) -> list[dict[str, Any]]:
    """Inputs whose channels depend on each other, as in real data: a third of them is free."""
    shape = [int(extent) for extent in module["main"].params[0].ty.shape]
    free = (shape[-1] + 2) // 3
    mixing = np.random.default_rng(0).normal(size=(free, shape[-1]))
    random = np.random.default_rng(seed)
    drawn = (random.normal(size=(*shape[:-1], free)) @ mixing for _ in range(count))
    return [{"x": each.astype(np.float32)} for each in drawn]


def stats_of(module: ir.IRModule) -> Stats:
    """The samples; methods that learn read nothing else."""
    return Stats({}, SAMPLES, samples(module))


def narrowed(
    module: ir.IRModule, bits: int, spec: HardwareSpec | None = None, **form: Any
) -> QuantModel:
    """Weights of ``bits`` bits in all layers, activations of 8, ranges from the samples."""
    graph = annotate(module, spec or machine())
    strategy = choose_strategy(graph, "int8")
    strategy = narrow_weights(graph, strategy, WeightFormat(bits, ends=True, **form))
    seen = [all_values(module, each) for each in samples(module)]

    def range_of(src: str, _: object) -> tuple[float, float]:
        return min(float(v[src].min()) for v in seen), max(float(v[src].max()) for v in seen)

    return assign_numbers(graph, strategy, range_of, constant_edges(graph))


def fidelity(model: QuantModel) -> float:
    """SQNR in dB of the results against the float model's, on inputs not seen before."""
    exact = _results(model, {})
    return sqnr_db(exact, _results(model, model_hooks(model)))


def _results(model: QuantModel, hooks: Any) -> np.ndarray:
    program = read_program(model.graph.module)
    feed = program.feed(samples(model.graph.module, seed=2))
    wanted = list(program.outputs)
    return over_samples(list(program.steps.values()), feed, hooks, wanted)[wanted[0]].numpy()


@cache
def nearest_fidelity(build: Any, bits: int) -> float:
    """The fidelity of rounding to nearest."""
    return fidelity(narrowed(build(), bits))
