"""Precisions mixed by the latencies of kernels: each group of edges takes what is fastest for it.

    int8 kernel of conv2d_16: 35 us, float32 kernel: 25 us  =>  conv2d_16 reads float32

Whole artifacts have been built in each precision by then, so their kernels are there to be
measured. That those before them then write float32 instead of codes is not in these figures and
added by the bytes: whoever builds the mix measures it whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from hago.annotate.biases import biases_without
from hago.annotate.operators import is_anchor
from hago.codegen.workload import Attention
from hago.dataflow import Node, read_dataflow
from hago.deploy.bench import copied_per_ms
from hago.deploy.kernels import time_kernels
from hago.graph import Edge, QuantModel
from hago.hardware.spec import HardwareSpec
from hago.lower.calls import KernelCall
from hago.report import EdgeReport
from hago.search.grouping import build_space
from hago.search.space import Group

MIXED = "mixed"  # what such a precision is called
_CLEARLY = 0.95  # of the low precision's time: what float32 must stay below
_WORTHWHILE = 0.01  # of all kernels' time: what a mix must promise
_PAST_CACHES = 4  # times the L2 cache: what is written there is read from beyond

Value = TypeVar("Value")
Latencies = Mapping[str, float]  # ms by operation of the prepared module


@dataclass(frozen=True)
class Raise:
    """A ``group`` that is faster in float32: the times of its products' kernels in ms, and what
    ``moving`` its inputs in float32 adds."""

    group: Group
    low_ms: float
    float_ms: float
    moving_ms: float

    @property
    def gain_ms(self) -> float:
        return self.low_ms - self.float_ms - self.moving_ms


def operation_latencies(folder: Path, calls: Iterable[KernelCall], threads: int) -> Latencies:
    """The time of the kernels in the artifact ``folder`` that compute each operation; of both
    products of an attention half of its kernel's."""
    calls = tuple(calls)
    kernels = time_kernels(folder, calls, threads)
    found: dict[str, float] = {}
    for call in calls:
        products = 2 if isinstance(call.workload, Attention) else 1
        for operation in call.operations:
            found[operation] = found.get(operation, 0.0) + kernels[call.function] / products
    return found


def moved_per_ms(spec: HardwareSpec) -> float:
    """Bytes of a tensor that one kernel writes and the next one reads in a ms, measured here."""
    return copied_per_ms(_PAST_CACHES * spec.memory.l2)


def find_raises(
    model: QuantModel, low: Latencies, floats: Latencies, moved: float
) -> tuple[Raise, ...]:
    """The groups of ``model`` whose products are faster in float32, where ``moved`` bytes of a
    tensor pass in a ms; none where that is too little to be noticed in the whole model."""
    nodes = read_dataflow(model.graph.module).by_name()
    found = []
    for group in build_space(model.graph).groups:
        products = {e.dst for e in group.edges if e.dst in nodes and is_anchor(nodes[e.dst])}
        is_low = any(edge in model.strategy for edge in group.edges)
        if is_low and products and products <= low.keys() & floats.keys():
            low_ms, float_ms = (sum(times[name] for name in products) for times in (low, floats))
            each = Raise(group, low_ms, float_ms, _added_bytes(model, group, nodes) / moved)
            if each.gain_ms > (1 - _CLEARLY) * each.low_ms:
                found.append(each)
    anchors = [low[name] for name, node in nodes.items() if name in low and is_anchor(node)]
    gain = sum(each.gain_ms for each in found)
    return tuple(found) if gain > _WORTHWHILE * sum(anchors) else ()


def _added_bytes(model: QuantModel, group: Group, nodes: Mapping[str, Node]) -> float:
    """What the group's inputs take more in float32 than in codes."""
    schemes = {edge.src: model.strategy[edge] for edge in group.edges if edge in model.strategy}
    return sum(
        (4 - scheme.dtype.bits / 8) * math.prod(nodes[source].shape)
        for source, scheme in schemes.items()
        if source in nodes
    )


def raised(model: QuantModel, raises: Iterable[Raise]) -> QuantModel:
    """``model`` with these groups in float32."""
    gone = {edge for each in raises for edge in each.group.edges}
    return replace(
        model,
        strategy=_without(gone, model.strategy),
        quants=_without(gone, model.quants),
        weights=_without(gone, model.weights),
        biases=biases_without(model, gone),
    )


def explained(
    edges: Iterable[EdgeReport], raises: Iterable[Raise], precision: str
) -> tuple[EdgeReport, ...]:
    """``edges`` with the measurement as the reason of those that were raised from ``precision``."""
    why = {
        str(edge): f"measured: {each.group.name} takes {each.float_ms * 1e3:.3g} us in float32, "
        f"{each.low_ms * 1e3:.3g} us in {precision}"
        for each in raises
        for edge in each.group.edges
    }
    return tuple(
        replace(each, reason=f"{why[each.edge]}; {each.reason}") if each.edge in why else each
        for each in edges
    )


def _without(gone: set[Edge], values: Mapping[Edge, Value]) -> dict[Edge, Value]:
    return {edge: value for edge, value in values.items() if edge not in gone}
