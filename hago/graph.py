"""Edges, what each may be, and what was chosen: a read-only numbering of the prepared module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hago.hardware.spec import HardwareSpec
from hago.pairs import within_pairs
from hago.scheme import Array, Floats, QuantScheme, TensorQuant

if TYPE_CHECKING:
    from tvm.ir import IRModule

OUTPUT = "output"


@dataclass(frozen=True, order=True)
class Edge:
    """The tensor ``src`` as argument ``arg`` of the operation ``dst``.

    ``src`` is a binding, a parameter, or ``<dst>.weight`` / ``<dst>.const<arg>`` for a constant.
    ``dst`` is a binding, or ``output`` for results of the model.
    """

    src: str
    dst: str
    arg: int

    def __str__(self) -> str:
        return f"{self.src} -> {self.dst}[{self.arg}]"

    @property
    def is_constant(self) -> bool:
        """True where ``src`` is a constant of ``dst`` (binding names have no dots)."""
        return self.src.startswith(f"{self.dst}.")


def parse_edge(text: str) -> Edge:
    """Read ``"conv2d_1 -> add_3[0]"``. Raises ValueError on anything else."""
    src, arrow, rest = text.partition("->")
    dst, bracket, arg = rest.strip().partition("[")
    if not (arrow and bracket and arg.endswith("]") and arg[:-1].isdigit()):
        raise ValueError(f"{text!r} is not an edge: write 'SRC -> DST[ARG]'")
    return Edge(src.strip(), dst.strip(), int(arg[:-1]))


@dataclass(frozen=True)
class Reason:
    """Why an edge has the choices it has: a sentence, and the row or rule it comes from."""

    text: str
    source: str


Strategy = Mapping[Edge, QuantScheme]


@dataclass(frozen=True, eq=False)
class QuantGraph:
    """The prepared ``module`` with, for each float edge, the schemes that the machine allows.

    ``choices[edge]`` is ordered, the preferred scheme first; empty means float32 and nothing
    else. ``tied`` groups edges that must share scheme and numbers. ``requantize`` is how the
    machine leaves the accumulator, ``spec`` the machine itself.
    """

    module: IRModule
    choices: Mapping[Edge, tuple[QuantScheme, ...]]
    reasons: Mapping[Edge, Reason]
    tied: tuple[frozenset[Edge], ...] = ()
    requantize: str = "float32"
    spec: HardwareSpec | None = None

    @property
    def edges(self) -> tuple[Edge, ...]:
        return tuple(self.choices)


@dataclass(frozen=True, eq=False)
class QuantModel:
    """A strategy with its numbers.

    ``weights`` are codes of constant edges where a method chose them (others are rounded to
    nearest), ``biases`` the float values of those that methods chose behind quantized layers;
    ``quants`` has the numbers of every edge of ``strategy``.
    """

    graph: QuantGraph
    strategy: Strategy
    quants: Mapping[Edge, TensorQuant]
    weights: Mapping[Edge, Array] = field(default_factory=dict)
    biases: Mapping[Edge, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [str(edge) for edge in self.strategy if edge not in self.quants]
        if missing:
            raise ValueError(f"no numbers for {', '.join(missing)}")

    def codes(self, edge: Edge, real: Array) -> Array:
        """The codes of the constant ``real`` behind ``edge``: chosen ones, or the nearest."""
        chosen, quant = self.weights.get(edge), self.quants[edge]
        if chosen is None:
            return quant.encode(real)
        return within_pairs(chosen) if quant.scheme.dtype.paired else chosen

    def with_quants(self, quants: Mapping[Edge, TensorQuant]) -> QuantModel:
        """The same model with some numbers replaced."""
        return replace(self, quants={**self.quants, **quants})
