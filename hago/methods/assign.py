"""Numbers for a strategy: ranges of activations from their statistics, of weights from the weights.

Tied edges get one set of numbers that covers all of their tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from hago.graph import Edge, QuantGraph, QuantModel, Strategy
from hago.pairs import reach
from hago.scheme import (
    Array,
    Floats,
    PerAxis,
    PerGroup,
    QuantScheme,
    TensorQuant,
    fill_scheme,
)

Range = tuple[float, float]
RangeOf = Callable[[str, QuantScheme], Range]


def assign_numbers(
    graph: QuantGraph, strategy: Strategy, range_of: RangeOf, constants: Mapping[Edge, Array]
) -> QuantModel:
    """A model whose every chosen edge has scale and zero point.

    ``range_of(src, scheme)`` gives the real range of an activation, ``constants`` the float
    weights of constant edges.
    """
    quants: dict[Edge, TensorQuant] = {}
    for edges, scheme in _shared(graph, strategy):
        weights = [constants[edge] for edge in edges if edge in constants]
        if weights:
            numbers = fill_scheme(scheme, *weight_range(weights[0], scheme))
        else:
            numbers = fill_scheme(scheme, *_joined(edges, scheme, range_of))
        quants.update(dict.fromkeys(edges, numbers))
    return QuantModel(graph, strategy, quants)


def refill(model: QuantModel, range_of: RangeOf) -> QuantModel:
    """``model`` with new ranges for its activations; the numbers of weights stay."""
    quants: dict[Edge, TensorQuant] = {}
    for edges, scheme in _shared(model.graph, model.strategy):
        if edges[0].is_constant:
            continue
        numbers = fill_scheme(scheme, *_joined(edges, scheme, range_of))
        quants.update(dict.fromkeys(edges, numbers))
    return model.with_quants(quants)


def with_ranges(model: QuantModel, ranges: Mapping[str, Range]) -> QuantModel:
    """``model`` with other ranges for the tensors ``ranges``, and all that is tied to them."""
    quants: dict[Edge, TensorQuant] = {}
    for edges, scheme in _shared(model.graph, model.strategy):
        found = [ranges[edge.src] for edge in edges if edge.src in ranges]
        if found and not edges[0].is_constant:
            numbers = fill_scheme(scheme, *_around(found))
            quants.update(dict.fromkeys(edges, numbers))
    return model.with_quants(quants)


def _joined(
    edges: list[Edge], scheme: QuantScheme, range_of: RangeOf
) -> tuple[Array, Array]:
    """The range that covers all tensors of a group; of plain floats none is asked for."""
    if not scheme.is_quantized:
        return np.zeros((), np.float64), np.zeros((), np.float64)
    return _around([range_of(src, scheme) for src in sorted({edge.src for edge in edges})])


def _around(ranges: Sequence[Range]) -> tuple[Array, Array]:
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    return np.asarray(low, np.float64), np.asarray(high, np.float64)


def _shared(graph: QuantGraph, strategy: Strategy) -> Iterable[tuple[list[Edge], QuantScheme]]:
    """Groups of chosen edges with the same numbers, in the graph's order."""
    group_of = {edge: number for number, group in enumerate(graph.tied) for edge in group}
    groups: dict[tuple[object, QuantScheme], list[Edge]] = {}
    for edge in graph.edges:
        if edge in strategy:
            key = (group_of.get(edge, edge), strategy[edge])
            groups.setdefault(key, []).append(edge)
    return ((edges, scheme) for (_, scheme), edges in groups.items())


def weight_range(weight: Array, scheme: QuantScheme) -> tuple[Floats, Floats]:
    """Smallest and largest weight for each scale of ``scheme``; of paired ones, with neighbours."""
    granularity = scheme.granularity
    weight = reach(weight) if scheme.dtype.paired else weight
    if isinstance(granularity, PerAxis):
        axis = granularity.axis % weight.ndim
        others = tuple(i for i in range(weight.ndim) if i != axis)
        return weight.min(axis=others), weight.max(axis=others)
    if isinstance(granularity, PerGroup):
        axis = granularity.axis % weight.ndim
        parts = weight.shape[axis] // granularity.size
        split = (*weight.shape[:axis], parts, granularity.size, *weight.shape[axis + 1 :])
        grouped = weight.reshape(split)
        return grouped.min(axis=axis + 1), grouped.max(axis=axis + 1)
    return np.asarray(weight.min()), np.asarray(weight.max())
