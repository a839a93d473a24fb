"""Layers with biases, run in the float model and in the quantized one side by side, in order.

What a method changes of a layer counts for all that come after it. Padding shows a method nothing:
its values are in no range, so that codes are far from them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from hago.annotate.biases import Bias, biases_of
from hago.calibrate import Stats
from hago.graph import Edge, QuantModel
from hago.methods.value_stream import ValueStream, counted_rows, fitting_samples
from hago.realize import insert_qdq
from hago.scheme import Floats

Doubles = npt.NDArray[np.float64]


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
    given = fitting_samples(method.name, stats, method.samples, modules, needed_for)
    layers = biases_of(model)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        float_model, quantized_model = (ValueStream(module, given, pool) for module in modules)
        for weight, bias in stats.progress.track(layers.items(), method.name, len(layers)):
            name = bias.edge.dst
            exact, quantized = float_model.run_to(name), quantized_model.run_to(name)
            rows = [
                [counted_rows(*pair, stats) for pair in zip(values, given, strict=True)]
                for values in (exact, quantized)
            ]
            factor, shift = change(weight, bias, Outcome(*rows))
            changed = [(each * factor + shift).astype(np.float32) for each in quantized]
            quantized_model.put(name, changed)
