"""One float module that stands for every strategy: the numbers are run-time arguments.

    y = op(x)  =>  y = op((clip(round(x / scale) + zero_point, low, high) - zero_point) * scale)
    y = op(w)  =>  y = op(w')            with w' an argument, as are biases behind it

so that a search over strategies, or a method that moves scales and weights, builds once
(HAGO, arXiv 2103.14949, section 3.3). An edge that stays float32 gets numbers whose rounding is
exact for float32, and an edge that may be rounded in several ways has numbers for each
(:data:`hago.simulate.rounding.STAGES`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tvm import ir, relax

from hago.annotate.biases import biases_behind
from hago.annotate.constants import constant_edges
from hago.dataflow import flat_args
from hago.errors import StrategyError
from hago.graph import Edge, QuantGraph, QuantModel
from hago.rebuild import Values, rebuild, substitute, with_leaves
from hago.scheme import Array, QuantScheme
from hago.simulate.rounding import STAGES, argument, stage_name, stage_names


@dataclass(frozen=True, eq=False)
class Simulation:
    """``module`` takes the model's inputs, the scalars of each slot, and the weights.

    ``slots`` maps an edge of an activation to the name of its group of arguments
    (``<slot>.scale`` and so on), ``stages`` a slot to its ways of rounding, ``weights`` a constant
    edge to the name of its argument, and ``biases`` that of a bias.
    """

    graph: QuantGraph
    module: ir.IRModule
    slots: Mapping[Edge, str]
    stages: Mapping[str, tuple[str, ...]]
    weights: Mapping[Edge, str]
    biases: Mapping[Edge, str]

    def arguments(self, model: QuantModel) -> dict[str, Array]:
        """The run-time arguments that make ``module`` behave as ``model``.

        Raises StrategyError where edges of one slot (tied edges) have different schemes.
        """
        floats = constant_edges(self.graph)
        weights = {
            name: weight_value(model, edge, floats[edge]) for edge, name in self.weights.items()
        }
        return {**self.scalars(model), **weights}

    def scalars(self, model: QuantModel) -> dict[str, Array]:
        """The arguments that are no weights. Raises as :meth:`arguments` does."""
        found = {
            name: model.biases.get(edge, self._own_biases[edge])
            for edge, name in self.biases.items()
        }
        chosen: dict[str, Edge] = {}
        for edge, slot in self.slots.items():
            first = chosen.setdefault(slot, edge)
            if model.strategy.get(edge) != model.strategy.get(first):
                raise StrategyError(
                    f"{edge}: another scheme than {first}",
                    fact=f"both read the codes of {edge.src}",
                    way_out="Give tied edges one scheme.",
                )
            found.update(self._numbers(model, edge, slot))
        return found

    @cached_property
    def _own_biases(self) -> Mapping[Edge, Array]:
        """Those of the float model: read once, for a search asks for each strategy."""
        return {bias.edge: bias.value for bias in biases_behind(self.graph).values()}

    def _numbers(self, model: QuantModel, edge: Edge, slot: str) -> dict[str, Array]:
        """The arguments of a slot: of the stage that ``edge`` uses, and identity for others."""
        found: dict[str, Array] = {}
        used = stage_name(model.strategy[edge]) if edge in model.strategy else ""
        for name in self.stages[slot]:
            stage = STAGES[name]
            values = stage.numbers_of(model.quants[edge]) if name == used else stage.unchanged
            for number, value in zip(stage.numbers, values, strict=True):
                found[argument(slot, name, number)] = np.asarray(value, np.float32)
        return found


def simulate(graph: QuantGraph) -> Simulation:
    """The simulated module of ``graph``: every edge with a choice can be quantized by arguments."""
    constants = constant_edges(graph)
    slots = slots_of(graph)
    weights = {edge: f"{edge.dst}.weight" for edge in constants if graph.choices[edge]}
    biases = {bias.edge: bias for edge, bias in biases_behind(graph).items() if edge in weights}
    bias_names = {edge: f"{edge.dst}.bias" for edge in biases}
    stages = _stages(graph, slots)
    names = [
        argument(slot, name, number)
        for slot, used in stages.items()
        for name in used
        for number in STAGES[name].numbers
    ]
    params = {name: relax.Var(name, relax.TensorType((), "float32")) for name in names}
    for edge, name in weights.items():
        params[name] = relax.Var(name, relax.TensorType(constants[edge].shape, "float32"))
    for edge, name in bias_names.items():
        params[name] = relax.Var(name, relax.TensorType(biases[edge].value.shape, "float32"))
    rewrite = _Rewrite(slots, stages, {**weights, **bias_names}, params)
    module = rebuild(graph.module, rewrite, params=list(params.values()))
    return Simulation(graph, module, slots, stages, weights, bias_names)


def slots_of(graph: QuantGraph) -> dict[Edge, str]:
    """The edges of activations with a choice, by name: those of one tensor that share numbers
    have one slot."""
    constants = constant_edges(graph)
    edges = [edge for edge in graph.edges if graph.choices[edge] and edge not in constants]
    group_of = {edge: number for number, group in enumerate(graph.tied) for edge in group}
    names: dict[tuple[str, object], str] = {}
    for edge in edges:
        key = (edge.src, group_of.get(edge, edge))
        names.setdefault(key, f"{edge.src}@{len(names)}")
    return {edge: names[edge.src, group_of.get(edge, edge)] for edge in edges}


def _stages(graph: QuantGraph, slots: Mapping[Edge, str]) -> dict[str, tuple[str, ...]]:
    """The ways of rounding that the edges of each slot may want."""
    schemes: dict[str, list[QuantScheme]] = {}
    for edge, slot in slots.items():
        schemes.setdefault(slot, []).extend(graph.choices[edge])
    return {slot: stage_names(wanted) for slot, wanted in schemes.items()}


class _Rewrite:
    """Puts fake-quantize on edges with a slot, arguments on edges of constants."""

    def __init__(
        self,
        slots: Mapping[Edge, str],
        stages: Mapping[str, tuple[str, ...]],
        constants: Mapping[Edge, str],
        params: Mapping[str, relax.Var],
    ) -> None:
        self.slots, self.stages, self.constants, self.params = slots, stages, constants, params
        self.by_place = {(e.dst, e.arg): e for e in (*slots, *constants)}
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
            if edge in self.constants:
                replaced[arg] = self.params[self.constants[edge]]
            else:
                replaced[arg] = self._fake(builder, self.slots[edge], values[str(leaf.name)])
        return with_leaves(substitute(binding.value, values), replaced)

    def _fake(self, builder: relax.BlockBuilder, slot: str, real: relax.Expr) -> relax.Expr:
        if slot not in self.done:
            for name in self.stages[slot]:
                stage = STAGES[name]
                numbers = [self.params[argument(slot, name, number)] for number in stage.numbers]
                real = builder.emit(stage.emit(builder, real, numbers))
            self.done[slot] = real
        return self.done[slot]


def weight_value(model: QuantModel, edge: Edge, weight: Array) -> Array:
    """``weight`` as ``model`` has it on ``edge``: what its codes stand for, or itself."""
    if edge not in model.strategy:
        return weight
    codes = model.codes(edge, weight.astype(np.float32, copy=False))
    return model.quants[edge].decode(codes)
