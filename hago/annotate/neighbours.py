"""Channels in an order in which large weights have small neighbours.

    order = argmin  sum over products, outputs n, pairs (i, j)  of max(|w_ni| + |w_nj| - M_n, 0)^2

with M_n the largest weight of an output, i and j neighbours in the order, and only weights of one
sign. Weights that are bound to their neighbours (:mod:`hago.pairs`) need a scale by which two of
them fit; where no two go beyond what one needs, they have all 8 bits. The order of channels inside
a network is nobody else's business, so this costs nothing at run time. It is found by exchanging
the members of two pairs until no exchange gains (2-opt, G. A. Croes, A Method for Solving
Traveling-Salesman Problems, Operations Research 6, 1958).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hago.annotate.annotate import annotate
from hago.dataflow import Node, read_dataflow
from hago.graph import Edge, QuantGraph
from hago.hardware.spec import HardwareSpec
from hago.prepare.channel_groups import ChannelGroup, channel_groups, order_channels
from hago.scheme import Array

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
_SWEEPS = 50
_LEAST = 1e-3  # of what two channels cost by chance: a gain that counts
_TINY = 1e-30
_TOLD = "channels stand in an order in which its large weights have small neighbours"


def with_small_neighbours(graph: QuantGraph, spec: HardwareSpec) -> QuantGraph:
    """``graph`` of the machine ``spec`` with channels reordered where paired weights are summed
    over them, and the reasons of these weights; the same where there are none."""
    paired = _paired(graph)
    if not paired:
        return graph
    orders = {group: _order(products) for group, products in paired.items()}
    moved = {group: order for group, order in orders.items() if (np.diff(order) != 1).any()}
    if moved:
        graph = annotate(order_channels(graph.module, moved), spec)
    edges = [_edge(product) for products in paired.values() for product in products]
    reasons = {edge: graph.reasons[edge] for edge in edges}
    told = {edge: replace(why, text=f"{why.text}; {_TOLD}") for edge, why in reasons.items()}
    return replace(graph, reasons={**graph.reasons, **told})


def _paired(graph: QuantGraph) -> dict[ChannelGroup, list[Node]]:
    """The groups of channels that products with paired weights sum over, with these products. Of an
    odd number of channels every weight of a convolution has two neighbours: they stay."""
    found = {
        group: [node for node in group.readers if _is_paired(graph, node)]
        for group in channel_groups(read_dataflow(graph.module))
        if group.size % 2 == 0
    }
    return {group: products for group, products in found.items() if products}


def _is_paired(graph: QuantGraph, product: Node) -> bool:
    return any(scheme.dtype.paired for scheme in graph.choices.get(_edge(product), ())[:1])


def _edge(product: Node) -> Edge:
    return Edge(product.inputs[1], product.name, 1)


def _order(products: Iterable[Node]) -> Ints:
    """The best order that is found of the channels that all of ``products`` sum over."""
    return paired_off(np.sum([conflicts(_by_output(node)) for node in products], axis=0))


def _by_output(product: Node) -> Array:
    """The weights of ``product`` as [outputs, positions, channels]."""
    weight = product.constants[1]
    if weight.ndim == 2:
        return weight.T[:, None, :]
    return weight.reshape(len(weight), -1, weight.shape[-1])


def conflicts(weight: Array) -> Floats:
    """What two channels cost as neighbours, float32 [channels, channels], of ``weight`` [outputs,
    positions, channels]: by how much they are too large together, squared, over the squares of what
    outputs need. Where both have more than half of that, it counts twice."""
    largest = np.abs(weight).max(axis=(1, 2), keepdims=True)
    relative = (weight / np.where(largest > 0, largest, 1)).astype(np.float32)
    rows = relative.reshape(-1, weight.shape[2])
    share = np.square(largest) / max(float(np.square(largest, dtype=np.float64).sum()), _TINY)
    counts = np.repeat(share.reshape(-1), weight.shape[1]).astype(np.float32)
    found = np.zeros((weight.shape[2],) * 2, np.float32)
    for signed in (rows, -rows):
        for channel, column in enumerate(signed.T):
            is_large = column > 0.5  # one of two that are too large together is
            excess = np.maximum(signed[is_large] + (column[is_large, None] - 1), 0)
            found[channel] += counts[is_large] @ np.square(excess)
    np.fill_diagonal(found, 0)
    return found + found.T


def paired_off(costs: Floats) -> Ints:
    """An order of an even number of channels whose pairs, two by two, have small ``costs``
    (symmetric, [channels, channels])."""
    first, second = np.arange(len(costs)).reshape(-1, 2).T.copy()
    least = _LEAST * float(costs.mean())
    for _ in range(_SWEEPS):
        if not sum(_exchange(costs, first, second, pair, least) for pair in range(len(first))):
            break
    return np.stack([first, second], axis=1).reshape(-1)


def _exchange(costs: Floats, first: Ints, second: Ints, pair: int, least: float) -> bool:
    """Exchanges a member of ``pair`` with the other pair where this gains most, if it does."""
    a, b = first[pair], second[pair]
    now = costs[a, b] + costs[first, second]
    ways = np.stack([costs[a, first] + costs[b, second], costs[a, second] + costs[first, b]])
    gains = now - ways
    gains[:, pair] = 0
    way, other = np.unravel_index(gains.argmax(), gains.shape)
    if gains[way, other] <= least:
        return False
    if way == 0:  # (a, c) and (b, d) of (a, b) and (c, d)
        second[pair], first[other] = first[other], b
    else:  # (a, d) and (c, b)
        second[pair], second[other] = second[other], b
    return True
