"""Formats that were asked for and cannot be had: said before the long work, with a way out."""

from __future__ import annotations

from hago.annotate.narrow import WeightFormat, column_length, end_layers
from hago.dataflow import read_dataflow
from hago.errors import StrategyError
from hago.graph import QuantGraph, Strategy
from hago.scheme import PerGroup


def check_weights(graph: QuantGraph, strategy: Strategy, form: WeightFormat) -> None:
    """Raises StrategyError where no weight of the narrowed ``strategy`` has the bits, or none the
    groups, of ``form``; end layers that keep theirs do not count."""
    ends = frozenset() if form.ends else end_layers(read_dataflow(graph.module))
    weights = {
        edge: scheme
        for edge, scheme in strategy.items()
        if edge.is_constant and scheme.is_quantized and edge.dst not in ends
    }
    if weights and all(scheme.dtype.bits > form.bits for scheme in weights.values()):
        raise _no_bits(graph, weights, form)
    groups = (isinstance(scheme.granularity, PerGroup) for scheme in weights.values())
    if form.group is not None and not any(groups):
        raise _no_groups(graph, weights, form)


def no_activations(graph: QuantGraph, strategy: Strategy, bits: int) -> StrategyError:
    """The machine's activations are no codes."""
    kinds = {str(scheme.dtype) for edge, scheme in strategy.items() if not edge.is_constant}
    return StrategyError(
        f"no activations of {bits} bits on {_machine(graph)}",
        fact=f"it computes this model in {', '.join(sorted(kinds))}",
        source=_machine(graph),
        way_out="Leave out --activation-bits, or name a machine with integer products.",
    )


def _no_bits(graph: QuantGraph, weights: Strategy, form: WeightFormat) -> StrategyError:
    stored = {
        choice.dtype.bits
        for edge in weights
        for choice in graph.choices[edge]
        if choice.computed_in is not None
    }
    kinds = ", ".join(sorted({str(scheme.dtype) for scheme in weights.values()}))
    least = f", and stores weights in {max(stored)} bits" if stored else ""
    can = f"Give --weight-bits 2 to {max(stored)}" if stored else "Leave out --weight-bits"
    return StrategyError(
        f"no weights of {form.bits} bits on {_machine(graph)}",
        fact=f"it multiplies {kinds}{least}",
        source=_machine(graph),
        way_out=f"{can}, or name a machine with integer products.",
    )


def _no_groups(graph: QuantGraph, weights: Strategy, form: WeightFormat) -> StrategyError:
    nodes = read_dataflow(graph.module).by_name()
    lengths = {column_length(n) for e in weights if (n := nodes[e.dst]).op == "matmul"}
    if not lengths:
        return StrategyError(
            f"no weights in groups of {form.group}",
            fact="groups are of a matrix's column: this model has none beside its end layers",
            way_out="Leave out --weight-group, or add --narrow-ends.",
        )
    return StrategyError(
        f"no weights in groups of {form.group}",
        fact=f"columns of its matrices have {', '.join(map(str, sorted(lengths)))} weights",
        way_out="Give --weight-group a number that divides one of these.",
    )


def _machine(graph: QuantGraph) -> str:
    return graph.spec.name if graph.spec is not None else "this machine"
