"""Everything that is known of one rounding: what remedies are derived from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hago.annotate.biases import biases_behind
from hago.annotate.constants import constant_edges
from hago.calibrate import Stats, TensorStats, choose_range
from hago.calibrate.channels import ChannelStats
from hago.dataflow import Node, read_dataflow
from hago.diagnose.channels import Spread, activation_spread, shift_share, weight_spread
from hago.diagnose.grid import Fit, fit_histogram, fit_weight
from hago.graph import Edge, QuantModel
from hago.methods.os_plus import candidates
from hago.scheme import Floats, PerTensor, QuantScheme, TensorQuant, fill_scheme
from hago.search.space import Group


@dataclass(frozen=True, eq=False)
class Case:
    """A rounding: the tensor on ``edge``, read by the operation ``reader``.

    ``better_range`` is the range method under which the tensor's own SQNR would be the highest,
    with that SQNR in dB, None where ranges are shared with other tensors, or for weights.
    ``nearest`` is true for a weight that is rounded to nearest. ``shift`` is that of
    :func:`hago.diagnose.channels.shift_share`, 0 where the layer has no bias, or one that a
    method chose.
    """

    edge: Edge
    scheme: QuantScheme
    reader: Node | None
    fit: Fit
    spread: Spread | None = None
    better_range: tuple[str, float] | None = None
    nearest: bool = False
    shift: float = 0.0
    shared: bool = False

    @property
    def is_weight(self) -> bool:
        return self.edge.is_constant


@dataclass(frozen=True, eq=False)
class Examination:
    """A quantized model with what was seen of its tensors and their channels."""

    model: QuantModel
    stats: Stats
    channels: Mapping[str, ChannelStats]

    def cases(self, groups: tuple[Group, ...]) -> Iterator[Case]:
        """The case of each group of roundings."""
        nodes = read_dataflow(self.model.graph.module).by_name()
        weights = constant_edges(self.model.graph)
        reshapable = candidates(self.model.graph)
        behind = biases_behind(self.model.graph)
        own = {edge for edge, bias in behind.items() if bias.edge not in self.model.biases}
        for group in groups:
            edge = group.edges[0]
            reader = nodes.get(edge.dst)
            if edge in weights and reader is not None:
                yield self._weight(edge, reader, weights[edge], edge in own)
            else:
                yield self._activation(group, reader, edge.src in reshapable)

    def _weight(self, edge: Edge, reader: Node, weight: Floats, has_own_bias: bool) -> Case:
        quant, codes = self.model.quants[edge], self.model.weights.get(edge)
        fit = fit_weight(weight, quant, codes)
        inputs = self.channels.get(reader.inputs[0])
        error = quant.decode(quant.encode(weight) if codes is None else codes) - weight
        return Case(
            edge,
            quant.scheme,
            reader,
            fit,
            spread=weight_spread(weight, quant),
            nearest=codes is None or bool(np.array_equal(codes, quant.encode(weight))),
            shift=0.0 if inputs is None or not has_own_bias else shift_share(reader, error, inputs),
        )

    def _activation(self, group: Group, reader: Node | None, is_reshapable: bool) -> Case:
        edge, is_shared = group.edges[0], self._is_shared(group)
        quant, stats = self.model.quants[edge], self.stats[edge.src]
        fit = fit_histogram(stats.histogram, quant, stats.low, stats.high)
        spread = None
        if is_reshapable and edge.src in self.channels and quant.scheme.dtype.is_integer:
            first, last = quant.scheme.dtype.code_range
            spread = activation_spread(self.channels[edge.src], fit.step, last - first)
        better = None if is_shared else best_range(stats, quant)
        return Case(edge, quant.scheme, reader, fit, spread, better, shared=is_shared)

    def _is_shared(self, group: Group) -> bool:
        """Whether its numbers are those of other roundings, too."""
        inside = set(group.edges)
        ties = (tie for tie in self.model.graph.tied if tie & inside)
        return any(edge in self.model.strategy for tie in ties for edge in tie - inside)


def best_range(stats: TensorStats, quant: TensorQuant) -> tuple[str, float]:
    """The range method with the least own error, and the SQNR in dB that it would give.

    That is "mse" by its definition, whose grid has the extremes as well.
    """
    low, high = (np.asarray(end) for end in choose_range(stats, quant.scheme, "mse"))
    other = fill_scheme(quant.scheme, low, high)
    return "mse", fit_histogram(stats.histogram, other, stats.low, stats.high).sqnr_db


def is_per_tensor(scheme: QuantScheme) -> bool:
    """Whether one scale serves the whole tensor."""
    return isinstance(scheme.granularity, PerTensor)
