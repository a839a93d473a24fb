"""One float module that stands for every strategy: the numbers are run-time arguments.

    y = op(x)  =>  y = op((clip(round(x / scale) + zero_point, low, high) - zero_point) * scale)
    y = op(w)  =>  y = op(w')            with w' an argument

so that a search over strategies, or a method that moves scales and weights, builds once
(HAGO, arXiv 2103.14949, section 3.3). An edge that stays float32 gets numbers whose rounding is
exact for float32 (:data:`PASS_THROUGH`, :data:`PASS_FLOAT`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tvm import ir, relax

from hago.annotate.constants import constant_edges
from hago.dataflow import flat_args
from hago.errors import StrategyError
from hago.float8 import FORMATS, Float8
from hago.graph import Edge, QuantGraph, QuantModel
from hago.realize.qdq import round_to_mantissa
from hago.rebuild import Values, rebuild, substitute, with_leaves
from hago.scheme import Array, TensorQuant

NUMBERS = ("scale", "shift", "low", "high")
# x / 2^-60 has no fraction bits left for any |x| >= 2^-37, and is off by 2^-61 at most below.
PASS_THROUGH = (2.0**-60, 0.0, -np.inf, np.inf)
# A float with 30 bits of mantissa holds every float32.
PASS_FLOAT = (1.0, 30.0, -np.inf, np.inf)


@dataclass(frozen=True, eq=False)
class Simulation:
    """``module`` takes the model's inputs, four scalars a slot, and the weights.

    ``slots`` maps an edge of an activation to the name of its group of arguments
    (``<slot>.scale`` and so on), ``weights`` a constant edge to the name of its argument.
    """

    graph: QuantGraph
    module: ir.IRModule
    slots: Mapping[Edge, str]
    weights: Mapping[Edge, str]

    def arguments(self, model: QuantModel) -> dict[str, Array]:
        """The run-time arguments that make ``module`` behave as ``model``.

        Raises StrategyError where edges of one slot (tied edges) have different schemes.
        """
        found: dict[str, Array] = {}
        chosen: dict[str, Edge] = {}
        for edge, slot in self.slots.items():
            first = chosen.setdefault(slot, edge)
            if model.strategy.get(edge) != model.strategy.get(first):
                raise StrategyError(
                    f"{edge}: another scheme than {first}",
                    fact=f"both read the codes of {edge.src}",
                    way_out="Give tied edges one scheme.",
                )
            values = _numbers(model.quants[edge]) if edge in model.strategy else self._pass(edge)
            names = (f"{slot}.{number}" for number in NUMBERS)
            found.update(zip(names, (np.asarray(v, np.float32) for v in values), strict=True))
        floats = constant_edges(self.graph)
        for edge, name in self.weights.items():
            found[name] = _fake_quantized(model, edge, floats[edge])
        return found

    def _pass(self, edge: Edge) -> tuple[float, float, float, float]:
        return PASS_FLOAT if _format(self.graph, edge) else PASS_THROUGH


def _format(graph: QuantGraph, edge: Edge) -> Float8 | None:
    """The 8-bit float that the slot of ``edge`` rounds to; None where it rounds to integers."""
    return FORMATS.get(graph.choices[edge][0].dtype.kind)


def simulate(graph: QuantGraph) -> Simulation:
    """The simulated module of ``graph``: every edge with a choice can be quantized by arguments."""
    constants = constant_edges(graph)
    slots = _slots(graph, [e for e in graph.edges if graph.choices[e] and e not in constants])
    weights = {edge: f"{edge.dst}.weight" for edge in constants if graph.choices[edge]}
    params = {
        f"{slot}.{number}": relax.Var(f"{slot}.{number}", relax.TensorType((), "float32"))
        for slot in dict.fromkeys(slots.values())
        for number in NUMBERS
    }
    for edge, name in weights.items():
        params[name] = relax.Var(name, relax.TensorType(constants[edge].shape, "float32"))
    formats = {slot: _format(graph, edge) for edge, slot in slots.items()}
    rewrite = _Rewrite(slots, weights, params, formats)
    module = rebuild(graph.module, rewrite, params=list(params.values()))
    return Simulation(graph, module, slots, weights)


def _slots(graph: QuantGraph, edges: list[Edge]) -> dict[Edge, str]:
    """One slot for the readers of a tensor that share scheme and numbers."""
    group_of = {edge: number for number, group in enumerate(graph.tied) for edge in group}
    names: dict[tuple[str, object], str] = {}
    for edge in edges:
        key = (edge.src, group_of.get(edge, edge))
        names.setdefault(key, f"{edge.src}@{len(names)}")
    return {edge: names[edge.src, group_of.get(edge, edge)] for edge in edges}


class _Rewrite:
    """Puts fake-quantize on edges with a slot, arguments on edges of weights."""

    def __init__(
        self,
        slots: Mapping[Edge, str],
        weights: Mapping[Edge, str],
        params: Mapping[str, relax.Var],
        formats: Mapping[str, Float8 | None],
    ) -> None:
        self.slots, self.weights, self.params, self.formats = slots, weights, params, formats
        self.by_place = {(e.dst, e.arg): e for e in (*slots, *weights)}
        self.done: dict[str, relax.Expr] = {}

    def __call__(
        self, builder: relax.BlockBuilder, binding: relax.Binding, values: Values
    ) -> relax.Expr:
        name = str(binding.var.name)
        replaced: dict[int, relax.Expr] = {}
        for arg, leaf in enumerate(flat_args(binding.value)):
            edge = self.by_place.get((name, arg))
            if edge is None:
                continue
            if edge in self.weights:
                replaced[arg] = self.params[self.weights[edge]]
            else:
                replaced[arg] = self._fake(builder, self.slots[edge], values[str(leaf.name)])
        return with_leaves(substitute(binding.value, values), replaced)

    def _fake(self, builder: relax.BlockBuilder, slot: str, real: relax.Expr) -> relax.Expr:
        if slot not in self.done:
            scale, shift, low, high = (self.params[f"{slot}.{n}"] for n in NUMBERS)
            value = builder.emit(relax.op.divide(real, scale))
            form = self.formats[slot]
            if form is None:
                rounded = _round_to_integers(builder, value, shift, low, high)
            else:
                rounded = round_to_mantissa(builder, value, shift, form.min_exponent, low, high)
            self.done[slot] = builder.emit(relax.op.multiply(builder.emit(rounded), scale))
        return self.done[slot]


def _round_to_integers(
    builder: relax.BlockBuilder,
    value: relax.Expr,
    zero_point: relax.Expr,
    low: relax.Expr,
    high: relax.Expr,
) -> relax.Expr:
    codes = builder.emit(relax.op.add(builder.emit(relax.op.round(value)), zero_point))
    codes = builder.emit(relax.op.maximum(builder.emit(relax.op.minimum(codes, high)), low))
    return relax.op.subtract(codes, zero_point)


def _numbers(quant: TensorQuant) -> tuple[float, float, float, float]:
    """Scale, zero point (of 8-bit floats: bits of the mantissa) and bounds of the codes."""
    form = FORMATS.get(quant.scheme.dtype.kind)
    if form is not None:
        return float(quant.scale), float(form.mantissa), -form.largest, form.largest
    low, high = quant.scheme.dtype.code_range
    return float(quant.scale), float(quant.zero_point), float(low), float(high)


def _fake_quantized(model: QuantModel, edge: Edge, weight: Array) -> Array:
    if edge not in model.strategy:
        return weight
    quant = model.quants[edge]
    codes = model.weights.get(edge)
    return quant.decode(quant.encode(weight.astype(np.float32)) if codes is None else codes)
