"""Activations in fewer bits than the machine multiplies, as papers on 4 and 6 bits have them.

The codes of 2 to 7 bits keep to a smaller range of the machine's own 8-bit type: results are those
of a machine with so narrow activations, memory is that of 8 bits, and so is latency, but where a
machine multiplies 4 bits by 4 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hago.annotate.impossible import no_activations
from hago.annotate.narrow import KEPT, end_layers
from hago.dataflow import read_dataflow
from hago.errors import StrategyError
from hago.graph import Edge, QuantGraph, Reason, Strategy
from hago.hardware.spec import multiplies
from hago.scheme import INT4, DType


@dataclass(frozen=True)
class ActivationFormat:
    """``bits`` of an activation. What the first and the last layers read keeps the machine's own
    format, as in :class:`hago.annotate.narrow.WeightFormat`, unless ``ends`` says otherwise.

    Raises StrategyError for bits that do not exist.
    """

    bits: int = 8
    ends: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise StrategyError(
                f"no activations of {self.bits} bits", way_out="Give --activation-bits 2 to 8."
            )


    @property
    def narrows(self) -> bool:
        """Whether activations are to be other than what the machine multiplies."""
        return self.bits < 8


MACHINE_ACTIVATIONS = ActivationFormat()


def narrow_activations(graph: QuantGraph, strategy: Strategy, form: ActivationFormat) -> Strategy:
    """``strategy`` with its integer activations in ``form``; other edges stay as they are.

    Raises StrategyError where fewer bits were asked for and none of them has codes.
    """
    if not form.narrows:
        return strategy
    found = _codes(strategy)
    if not found:
        raise no_activations(graph, strategy, form.bits)
    kept = _read_by_ends(graph, form)
    narrow = {
        edge: replace(strategy[edge], dtype=_narrowed(strategy[edge].dtype, form))
        for edge in found
        if edge not in kept
    }
    return _with_factors(graph, {**strategy, **narrow})


def _with_factors(graph: QuantGraph, strategy: Strategy) -> Strategy:
    """``strategy`` with weights that the machine multiplies with activations of 4 bits: a zero
    point would take a fifth."""
    if graph.spec is None or not multiplies(graph.spec, INT4):
        return strategy
    narrow = {
        edge.dst
        for edge, scheme in strategy.items()
        if scheme.dtype.is_integer and scheme.dtype.bits <= INT4.bits and not edge.is_constant
    }
    return {
        edge: replace(scheme, symmetric=True)
        if edge.is_constant and scheme.dtype == INT4 and edge.dst in narrow
        else scheme
        for edge, scheme in strategy.items()
    }


def activation_reasons(
    graph: QuantGraph, strategy: Strategy, form: ActivationFormat
) -> dict[Edge, Reason]:
    """Why integer activations of ``strategy`` have the bits that they have; none where ``form``
    narrows nothing."""
    if not form.narrows:
        return {}
    narrowed = Reason(f"codes of {form.bits} bits in the machine's own type", "activation format")
    ends = _read_by_ends(graph, form)
    return {edge: KEPT if edge in ends else narrowed for edge in _codes(strategy)}


def _codes(strategy: Strategy) -> list[Edge]:
    return [
        edge for edge, scheme in strategy.items()
        if scheme.dtype.is_integer and not edge.is_constant
    ]  # fmt: skip


def _narrowed(dtype: DType, form: ActivationFormat) -> DType:
    return DType(dtype.kind, min(form.bits, dtype.bits))


def _read_by_ends(graph: QuantGraph, form: ActivationFormat) -> frozenset[Edge]:
    """The edges that end layers read, and what must have the same codes."""
    if form.ends:
        return frozenset()
    ends = end_layers(read_dataflow(graph.module))
    read = {edge for edge in graph.choices if edge.dst in ends}
    return frozenset(read).union(*(tie for tie in graph.tied if tie & read))
