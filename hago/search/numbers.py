"""Scales, zero points and codes for every option of every group, found once.

Groups hold all of their ties, so the numbers of one do not depend on the precision of another;
a strategy takes for each group those of its option.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from hago.annotate.biases import biases_behind
from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.errors import StrategyError
from hago.graph import Edge, QuantGraph, QuantModel
from hago.methods.assign import assign_numbers
from hago.methods.method import Method, keeps_function
from hago.search.space import Assignment, Space


@dataclass(frozen=True, eq=False)
class Numbers:
    """``levels[n]`` is the model in which every group has its option ``n``, or its last."""

    space: Space
    graph: QuantGraph
    levels: tuple[QuantModel, ...]

    def model(self, assignment: Assignment) -> QuantModel:
        """``assignment`` with its numbers."""
        strategy = self.space.strategy(assignment)
        source = {
            edge: self.levels[option]
            for group, option in zip(self.space.groups, assignment, strict=True)
            for edge in group.edges
            if option
        }
        quants = {edge: source[edge].quants[edge] for edge in strategy}
        weights = {e: source[e].weights[e] for e in strategy if e in source[e].weights}
        biases = {
            place: source[e].biases[place]
            for e, place in self._bias_places.items()
            if e in strategy and place in source[e].biases
        }
        return QuantModel(self.graph, strategy, quants, weights, biases)

    @cached_property
    def _bias_places(self) -> Mapping[Edge, Edge]:
        """Where the bias is, by the edge of the layer's weights."""
        return {edge: bias.edge for edge, bias in biases_behind(self.graph).items()}


MethodsFor = Callable[[int], Sequence[Method]]  # for weights of so many bits


def find_numbers(
    space: Space, graph: QuantGraph, stats: Stats, methods_for: MethodsFor
) -> Numbers:
    """Ranges of min and max, then methods in order, for each level of ``space``.

    Of a method that keeps what the module computes, the first level's module serves all: codes of
    data have the same steps in each. Raises StrategyError for a method that changes the module for
    the strategy at hand.
    """
    constants, moved = constant_edges(graph), dict[str, QuantGraph]()
    levels = []
    for assignment in space.levels():
        strategy = space.strategy(assignment)
        model = assign_numbers(
            graph, strategy, lambda src, _: (stats[src].low, stats[src].high), constants
        )
        if any(scheme.is_quantized for scheme in strategy.values()):
            for method in methods_for(_weight_bits(space, assignment)):
                before, model = model, method.apply(model, stats)
                if keeps_function(method):
                    model = replace(model, graph=moved.setdefault(method.name, model.graph))
                else:
                    _check_module(method, model, before)
        levels.append(model)
    shared = [graph, *moved.values()][-1]
    return Numbers(space, shared, tuple(replace(level, graph=shared) for level in levels))


def _weight_bits(space: Space, assignment: Assignment) -> int:
    """The fewest bits that weights have; those of data where there are none."""
    chosen = [(g, g.options[o]) for g, o in zip(space.groups, assignment, strict=True)]
    weighted = [option.bits for group, option in chosen if group.weights]
    return min(weighted or [option.bits for _, option in chosen])


def _check_module(method: Method, model: QuantModel, before: QuantModel) -> None:
    """A search mixes levels, so all of them must be of one module."""
    if model.graph.module is not before.graph.module:
        raise StrategyError(
            f"{method.name}: it cannot be searched with",
            fact="it changes the model itself for one strategy, and a search mixes many",
            source=f"hago/methods/{method.name}.py",
            way_out="Leave it out of --recipe here; 'hago compile' takes it.",
        )
