"""Weights in more bits than the machine's first instruction takes: its others multiply them, too.

    code = round(w / s), 7 bits  =>  code' = round(w / (s / 2)), 8 bits

A machine may multiply weights of 7 bits by one instruction and of 8 by another. Which is faster is
for a measurement to say. Each code of more bits is as precise or more: ranges stay, steps
are halved for each bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hago.graph import Edge, QuantModel
from hago.scheme import QuantScheme, TensorQuant
from hago.search.grouping import build_space
from hago.search.space import Group


def widened(model: QuantModel) -> QuantModel | None:
    """``model`` with each weight in the most bits that the machine multiplies by the same data;
    None where it has them."""
    schemes: dict[Edge, QuantScheme] = {}
    for group in build_space(model.graph).groups:
        schemes |= _wider(model, group)
    if not schemes:
        return None
    quants = {edge: _finer(model.quants[edge], scheme) for edge, scheme in schemes.items()}
    chosen = {edge: model.weights[edge] for edge in schemes if edge in model.weights}
    codes = {
        edge: codes << quants[edge].scheme.dtype.bits - model.strategy[edge].dtype.bits
        for edge, codes in chosen.items()
    }
    return replace(
        model,
        strategy={**model.strategy, **schemes},
        quants={**model.quants, **quants},
        weights={**model.weights, **codes},
    )


def _wider(model: QuantModel, group: Group) -> Mapping[Edge, QuantScheme]:
    """The schemes of the group's weights in its first option that has more bits of them, and the
    data as it is."""
    if not all(edge in model.strategy for edge in group.edges):
        return {}
    for option in group.options[1:]:
        changed = {e: s for e, s in option.schemes.items() if s != model.strategy[e]}
        if changed and all(_is_wider(model, edge, scheme) for edge, scheme in changed.items()):
            return changed
    return {}


def _is_wider(model: QuantModel, edge: Edge, scheme: QuantScheme) -> bool:
    """Whether ``scheme`` is that of the same weights in more bits, and differs in nothing else."""
    was, dtype = model.strategy[edge], scheme.dtype
    is_symmetric = not model.quants[edge].zero_point.any()
    same = replace(was, dtype=dtype) == scheme and dtype.kind == was.dtype.kind == "int"
    return edge.is_constant and is_symmetric and same and dtype.bits > was.dtype.bits


def _finer(numbers: TensorQuant, scheme: QuantScheme) -> TensorQuant:
    """The numbers of ``scheme`` for the same range."""
    bits = scheme.dtype.bits - numbers.scheme.dtype.bits
    return TensorQuant(scheme, numbers.scale / 2**bits, numbers.zero_point)
