"""Channels in an order in which large weights have small neighbours.

    order = argmin  sum over products, outputs n, pairs ij of M_n^2 exp(8 (|w_ni| + |w_nj|) / M_n)

with M_n the largest weight of an output, i and j neighbours in the order, and only weights of one
sign: a smooth form of the largest of the sums, made of factors of i and of j. Weights that are
bound to their neighbours (:mod:`hago.pairs`) need a scale by which two of them fit; where no two go
beyond what one needs, they have all 8 bits. The order of channels inside a network is nobody else's
business, so this costs nothing at run time. It is found by exchanging the members of two pairs
until no exchange gains (2-opt, G. A. Croes, A Method for Solving Traveling-Salesman Problems,
Operations Research 6, 1958).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

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
_STEEPNESS = 8.0
_SWEEPS = 50
_LEAST = 1e-3  # of what two channels cost by chance: a gain that counts
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
    positions, channels]. Outputs count by the squares of what they need."""
    largest = np.abs(weight).max(axis=(1, 2), keepdims=True)
    needed = np.sqrt(np.square(largest, dtype=np.float64).sum())
    share = largest / needed if needed > 0 else largest
    relative = weight / np.where(largest > 0, largest, 1)
    found = np.zeros((weight.shape[2],) * 2, np.float32)
    for signed in (relative, -relative):
        grown = np.where(signed > 0, np.exp(_STEEPNESS * (signed - 0.5)), 0) * share
        rows = grown.reshape(-1, weight.shape[2]).astype(np.float32)
        found += rows.T @ rows
    np.fill_diagonal(found, 0)
    return found


def paired_off(costs: Floats) -> Ints:
    """An order of an even number of channels whose pairs, two by two, have small ``costs``
    (symmetric, [channels, channels])."""
    pairing = _Pairing.of(costs)
    least = _LEAST * float(costs.mean())
    for _ in range(_SWEEPS):
        if not any([pairing.exchange(pair, least) for pair in range(len(pairing.held))]):
            break
    return pairing.members.reshape(-1)


@dataclass(frozen=True, eq=False)
class _Pairing:
    """The ``members`` [pairs, 2] of pairs, and what each pair costs, ``held`` [pairs]."""

    costs: Floats
    members: Ints
    held: Floats

    @staticmethod
    def of(costs: Floats) -> _Pairing:
        """Each channel with the next one."""
        members = np.arange(len(costs)).reshape(-1, 2)
        return _Pairing(costs, members, costs[members[:, 0], members[:, 1]])

    def exchange(self, pair: int, least: float) -> bool:
        """Exchanges a member of ``pair`` with the other pair where this gains most, if that is
        more than ``least``."""
        a, b = self.members[pair]
        first, second = self.members.T
        from_a, from_b = self.costs[a], self.costs[b]
        ways = np.stack([from_a[first] + from_b[second], from_a[second] + from_b[first]])
        gains = self.held + self.held[pair] - ways
        gains[:, pair] = 0
        way, other = divmod(int(gains.argmax()), len(first))
        if gains[way, other] <= least:
            return False
        self.members[pair, 1], self.members[other, way] = self.members[other, way], b
        for each in (pair, other):
            self.held[each] = self.costs[tuple(self.members[each])]
        return True
