"""The values of samples in a module, run in numpy operation by operation.

Nothing is built for values that are wanted once. All samples go through an operation before the
next one, so their values are in memory together; where these are large, fewer are looked at.
"""

from __future__ import annotations

import math
from collections import ChainMap, Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import ir

from hago.calibrate import Stats
from hago.dataflow import Node, input_params, read_dataflow
from hago.methods.first_samples import first_samples
from hago.realize.interpret import evaluate
from hago.sample import Sample
from hago.scheme import Array

_MOST_BYTES = 5 * 2**28  # of values in memory


def fitting_samples(
    name: str, stats: Stats, count: int, modules: Sequence[ir.IRModule], fact: str
) -> list[Sample]:
    """The first ``count`` samples of the data for the method ``name``, or as many as the values of
    all ``modules`` fit into memory for. Raises DataError where there are none, see first_samples.
    """
    fitting = _MOST_BYTES // sum(map(peak_bytes, modules))
    return first_samples(name, stats, min(count, max(fitting, 1)), fact)


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


def counted_rows(values: Array, sample: Sample, stats: Stats) -> Array:
    """``values`` [.., C] of ``sample`` as rows [rows, C], those of padding left out."""
    rows = values.reshape(-1, values.shape[-1])
    counted = _counted(sample.get(stats.mask), len(rows))
    return rows if counted is None else rows[counted]


def _counted(mask: Array | None, rows: int) -> npt.NDArray[np.bool_] | None:
    """Which rows are no padding, by a ``mask`` of as many elements; None where all are."""
    return None if mask is None or mask.size != rows else mask.reshape(-1) != 0


class ValueStream:
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
