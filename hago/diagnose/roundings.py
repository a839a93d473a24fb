"""The places where a quantized model rounds: a tensor once for all readers of one set of codes.

As a space of hago.search with a group for each place, so that its simulation (one build, numbers
as arguments) and its sensitivity serve here, too: groups there hold the operands of a product
together, because an instruction takes both or none; a simulation need not.
"""

from __future__ import annotations

from hago.annotate.constants import constant_edges
from hago.annotate.operators import hardware_operator
from hago.dataflow import read_dataflow
from hago.graph import Edge, QuantModel
from hago.search.space import FLOAT, Group, Option, Space
from hago.simulate.simulate import slots_of

# Operations whose result is on the grid if what they read is.
_EXACT = ("move", "max_pool2d")


def rounding_space(model: QuantModel) -> Space:
    """A group for every tensor that ``model`` rounds, in program order: float32, or its scheme.

    The first edge of a group stands for it: all of them read the same codes, some of them moved.
    """
    sizes = {edge: weight.size for edge, weight in constant_edges(model.graph).items()}
    places = _Places(model)
    together: dict[object, list[Edge]] = {}
    for edge in model.graph.edges:
        if edge in model.strategy:
            together.setdefault(places.of(edge), []).append(edge)
    groups = [
        Group(str(edges[0]), tuple(edges), (FLOAT, _lowered(model, edges)), sizes.get(edges[0], 0))
        for edges in together.values()
    ]
    return Space(tuple(groups))


class _Places:
    """Where the codes that an edge reads are made."""

    def __init__(self, model: QuantModel) -> None:
        self._strategy, self._slots = model.strategy, slots_of(model.graph)
        self._nodes = read_dataflow(model.graph.module).by_name()

    def of(self, edge: Edge) -> object:
        """The slot of the first edge in a chain of moves: what is a code before is one after."""
        node = self._nodes.get(edge.src)
        if node is not None and hardware_operator(node) in _EXACT:
            before = Edge(node.inputs[0], node.name, 0)
            if before in self._strategy:
                return self.of(before)
        return self._slots.get(edge, edge)


def _lowered(model: QuantModel, edges: list[Edge]) -> Option:
    schemes = {edge: model.strategy[edge] for edge in edges}
    dtype = schemes[edges[0]].dtype
    return Option(str(dtype), dtype.bits, schemes)
