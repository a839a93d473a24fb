"""Layers with biases, run in the float model and in the quantized one side by side, in order.

What a method changes of a layer counts for all that come after it. Padding shows a method nothing:
its values are in no range, so that codes are far from them. Both run in numpy, operation by
operation: nothing is built for values that are wanted once. All samples go through a layer before
the next one, so their values are in memory together; where these are large, fewer are looked at.
"""

from __future__ import annotations

import math
import os
from collections import ChainMap, Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from tvm import ir

from hago.annotate.biases import Bias, biases_of
from hago.calibrate import Stats
from hago.dataflow import Node, input_params, read_dataflow
from hago.graph import Edge, QuantModel
from hago.methods.first_samples import first_samples
from hago.realize import insert_qdq
from hago.realize.interpret import evaluate
from hago.sample import Sample
from hago.scheme import Array, Floats

Doubles = npt.NDArray[np.float64]
_MOST_BYTES = 5 * 2**28  # of values in memory


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a layer gives with its bias in the ``exact`` and in the ``quantized`` model, float32
    [rows, C] of each sample."""

    exact: Sequence[Floats]
    quantized: Sequence[Floats]


# Of a layer by the edge of its weights, its bias, and what comes out of both: the factor and the
# shift [C] of quantized values from now on.
Change = Callable[[Edge, Bias, Outcome], tuple[Doubles, Doubles]]


class FromSamples(Protocol):
    """A method that looks at the first ``samples`` of the data."""

    name: ClassVar[str]

    @property
    def samples(self) -> int: ...


def change_layers(method: FromSamples, model: QuantModel, stats: Stats, change: Change) -> None:
    """Calls ``change`` for each of :func:`biases_of`, in order.

    Raises DataError where there are no samples.
    """
    needed_for = "it compares what layers give with and without rounding"
    modules = model.graph.module, insert_qdq(model)
    fitting = _MOST_BYTES // sum(map(peak_bytes, modules))
    given = first_samples(method.name, stats, min(method.samples, max(fitting, 1)), needed_for)
    nodes, layers = read_dataflow(model.graph.module).by_name(), biases_of(model)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        float_model, quantized_model = (_Stream(module, given, pool) for module in modules)
        for weight, bias in stats.progress.track(layers.items(), method.name, len(layers)):
            name = bias.edge.dst
            exact, quantized = float_model.run_to(name), quantized_model.run_to(name)
            counted = [_counted(sample.get(stats.mask), nodes[name].shape) for sample in given]
            rows = (list(map(_rows, values, counted)) for values in (exact, quantized))
            factor, shift = change(weight, bias, Outcome(*rows))
            changed = [(each * factor + shift).astype(np.float32) for each in quantized]
            quantized_model.put(name, changed)


def peak_bytes(module: ir.IRModule) -> int:
    """What the values of one sample take that are still to be read, at most; constants apart."""
    dataflow = read_dataflow(module)
    sizes = {
        node.name: np.dtype(node.dtype).itemsize * math.prod(node.shape)
        for node in dataflow.nodes
        if node.dtype and len(node.constants) < len(node.inputs)
    }
    readers = Counter(name for node in dataflow.nodes for name in node.inputs)
    live, peak = 0, 1
    for node in dataflow.nodes:
        live += sizes.get(node.name, 0)
        peak = max(peak, live)
        for name in node.inputs:
            readers[name] -= 1
            live -= sizes.get(name, 0) if not readers[name] else 0
    return peak


def _counted(mask: Array | None, shape: Sequence[int]) -> npt.NDArray[np.bool_] | None:
    """Which rows of a tensor of ``shape`` are no padding, by a ``mask`` of as many elements; None
    where all are."""
    if mask is None or mask.size != np.prod(shape[:-1]):
        return None
    return mask.reshape(-1) != 0


def _rows(values: Array, counted: npt.NDArray[np.bool_] | None) -> Array:
    rows = values.reshape(-1, values.shape[-1])
    return rows if counted is None else rows[counted]


class _Stream:
    """The values of each sample in a module, run so far, that are still to be read."""

    def __init__(self, module: ir.IRModule, samples: Sequence[Sample], pool: Executor) -> None:
        dataflow, inputs = read_dataflow(module), input_params(module)
        self._values: list[dict[str, Any]] = [
            {param: sample[name] for name, param in inputs.items()} for sample in samples
        ]
        self._common: dict[str, Any] = {}  # what depends on no input
        self._pool = pool
        self._left = iter(dataflow.nodes)
        self._readers = Counter(name for node in dataflow.nodes for name in node.inputs)

    def run_to(self, name: str) -> list[Array]:
        """The values of the operation ``name``, which did not run before."""
        for node in self._left:
            self._run(node)
            if node.name == name:
                break
        return [values[name] for values in self._values]

    def put(self, name: str, found: Sequence[Array]) -> None:
        """From now on ``found`` are the values of ``name``."""
        for values, each in zip(self._values, found, strict=True):
            values[name] = each

    def _run(self, node: Node) -> None:
        is_common = all(
            arg in node.constants or name in self._common for arg, name in enumerate(node.inputs)
        )

        def compute(values: dict[str, Any]) -> None:
            known: Mapping[str, Any] = ChainMap(values, self._common)
            values[node.name] = evaluate(node.value, known)

        for _ in self._pool.map(compute, [self._common] if is_common else self._values):
            pass
        for name in node.inputs:
            self._readers[name] -= 1
            if not self._readers[name]:
                for values in (self._common, *self._values):
                    values.pop(name, None)
