"""The schemes an edge may have, from the machine's rows, and the reason when there are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from hago.annotate.chains import carried_edges
from hago.annotate.logarithms import read_by_logarithms
from hago.annotate.operators import (
    FORMS,
    hardware_operator,
    is_anchor,
    is_elementwise,
    passes_codes,
)
from hago.annotate.overflow import overflow
from hago.dataflow import Dataflow, Node, flat_args
from hago.graph import OUTPUT, Edge, Reason
from hago.hardware.spec import HardwareSpec, Operand, OpSupport
from hago.report import FUSED
from hago.scheme import Granularity, PerAxis, PerGroup, PerTensor, QuantScheme
from hago.shifted_exp import is_sum_of_powers

RULES = "rule"


@dataclass(frozen=True)
class Wish:
    """What a reader wants of an edge: ``hard`` computes on codes, ``soft`` would read them if
    they lie in memory anyway, ``float`` needs float32."""

    kind: Literal["hard", "soft", "float"]
    schemes: tuple[QuantScheme, ...]
    reason: Reason


def edge_choices(dataflow: Dataflow, spec: HardwareSpec) -> dict[Edge, Wish]:
    """The final wish of every float32 edge: ``schemes`` is empty where it stays float32.

    Constants of elementwise operations (biases) are no edges: they are part of an epilogue.
    """
    reader = _Reader(dataflow, spec)
    edges = [
        Edge(name, node.name, arg)
        for node in dataflow.nodes
        for arg, name in enumerate(node.inputs)
        if reader.is_float(name, node, arg)
    ]
    edges += [Edge(name, OUTPUT, arg) for arg, name in enumerate(dataflow.outputs)]
    return {edge: reader.settle(edge) for edge in edges}


class _Reader:
    """The dataflow and the machine, with what was already found out about an edge."""

    def __init__(self, dataflow: Dataflow, spec: HardwareSpec) -> None:
        self.nodes, self.users, self.spec = dataflow.by_name(), dataflow.users(), spec
        requantize = next((row.requantize for row in spec.ops if row.intrinsic), "float32")
        self.requantize = "float32" if requantize == "float32" else "fixed_point"
        self.carried = carried_edges(dataflow, self.requantize)
        self.logarithmic = read_by_logarithms(dataflow)
        self.wish: Callable[[Edge], Wish] = cache(self._wish)
        self.is_read_as_codes: Callable[[str], bool] = cache(self._is_read_as_codes)
        self.is_computed_on_codes: Callable[[str], bool] = cache(self._is_computed_on_codes)

    def is_float(self, name: str, node: Node, arg: int) -> bool:
        if arg in node.constants:
            return is_anchor(node) and node.constants[arg].dtype == "float32"
        source = self.nodes.get(name)
        dtype = source.dtype if source is not None else _parameter_dtype(node, name)
        return dtype == "float32"

    def settle(self, edge: Edge) -> Wish:
        """The wish with "soft" decided: codes only where nobody needs the tensor in float32."""
        wish = self.wish(edge)
        if wish.kind != "soft":
            return wish
        if self.requantize == "fixed_point" and (reason := self._only_rounded(edge)):
            return _float(reason)
        if not self.is_computed_on_codes(edge.src):
            return _float(f"{edge.src} is computed in float32, so reading it so costs nothing")
        for dst, arg in self.users[edge.src]:
            other = self.wish(Edge(edge.src, dst, arg))
            if other.kind == "float":
                return _float(f"{dst} needs {edge.src} in float32, so it is in memory as float32")
        return wish

    def _only_rounded(self, edge: Edge) -> str:
        """Why codes on ``edge`` would be of no use to its elementwise operation; "" if they are."""
        if not self.is_read_as_codes(edge.dst):
            return f"{edge.dst} is read in float32 alone, so codes would only round it"
        node = self.nodes[edge.dst]
        for arg, name in enumerate(node.inputs):
            is_other = arg != edge.arg and arg not in node.constants
            if is_other and self.wish(Edge(name, node.name, arg)).kind == "float":
                return f"{edge.dst} computes in float32, because it reads {name} so"
        return ""

    def _is_read_as_codes(self, name: str) -> bool:
        """True where codes of ``name``, or of what is computed of it element by element, are what
        somebody multiplies or moves."""
        for dst, arg in self.users.get(name, ()):
            wish = self.wish(Edge(name, dst, arg))
            goes_on = wish.kind == "soft" or wish.reason.source == FUSED
            if wish.kind == "hard" or (goes_on and self.is_read_as_codes(dst)):
                return True
        return False

    def _is_computed_on_codes(self, name: str) -> bool:
        """True where ``name`` leaves a chain that starts with an integer accumulator."""
        node = self.nodes.get(name)
        if node is None:
            return False
        if is_anchor(node):
            return self.wish(Edge(node.inputs[0], name, 0)).kind == "hard"
        if not (is_elementwise(node) or passes_codes(node)):
            return False
        return any(
            self.is_computed_on_codes(source)
            for arg, source in enumerate(node.inputs)
            if arg not in node.constants
        )

    def _wish(self, edge: Edge) -> Wish:
        if edge.dst == OUTPUT:
            return _float("it is a result of the model")
        node = self.nodes[edge.dst]
        if (edge.dst, edge.arg) in self.carried:
            start = self.carried[edge.dst, edge.arg]
            return _float(f"it stays in the registers of {start}'s kernel", FUSED)
        if passes_codes(node):
            return self._passed_on(node, edge)
        if is_sum_of_powers(self.nodes, node):
            return self._as_multiplied(edge)
        operator = hardware_operator(node)
        if operator is None:
            return self._unsupported(node)
        return self._from_rows(node, edge, operator)

    def _as_multiplied(self, edge: Edge) -> Wish:
        """The sums of a softmax are of the very numbers that its product reads."""
        for dst, arg in self.users[edge.src]:
            if dst != OUTPUT and is_anchor(self.nodes[dst]):
                wish = self.wish(Edge(edge.src, dst, arg))
                return Wish(wish.kind, wish.schemes, Reason(f"summed as {dst} reads it", RULES))
        return self._unsupported(self.nodes[edge.dst])

    def _unsupported(self, node: Node) -> Wish:
        if node.op in FORMS:
            return _float(f"rows are for '{node.op}' {FORMS[node.op]}")
        return _float(f"{self.spec.name} has no row for '{node.op}'", self.spec.name)

    def _passed_on(self, node: Node, edge: Edge) -> Wish:
        """A move wants what all readers of its result want."""
        wishes = {
            Edge(node.name, dst, arg): self.wish(Edge(node.name, dst, arg))
            for dst, arg in self.users.get(node.name, ())
        }
        for reader, wish in wishes.items():
            if wish.kind == "float":
                return _float(f"{reader.dst} reads it through {node.name}: {wish.reason.text}")
        common = [
            scheme
            for scheme in next(iter(wishes.values())).schemes
            if all(scheme in wish.schemes for wish in wishes.values())
        ] if wishes else []  # fmt: skip
        if not common:
            return _float(f"the readers of {node.name} share no scheme")
        hard = any(wish.kind == "hard" for wish in wishes.values())
        reason = Reason(f"{node.name} passes codes on", RULES)
        return Wish("hard" if hard else "soft", tuple(common), reason)

    def _from_rows(self, node: Node, edge: Edge, operator: str) -> Wish:
        rows = self.spec.rows(operator)
        if not rows:
            return _float(f"{self.spec.name} has no row for '{operator}'", self.spec.name)
        feasible = [row for row in rows if overflow(node, row) is None]
        if not feasible:
            row = rows[0]
            text = f"'{operator}' would overflow: {overflow(node, row)}"
            return Wish("float", (), Reason(text, str(row.origin)))
        return self._schemes(node, edge, feasible)

    def _schemes(self, node: Node, edge: Edge, rows: list[OpSupport]) -> Wish:
        soft = is_elementwise(node)
        if soft and _is_small(node, self.nodes.get(edge.src)):
            return _float(f"{edge.src} is broadcast: too small for its element type to matter")
        found: dict[QuantScheme, OpSupport] = {}
        for row in rows:
            operand = row.inputs[min(edge.arg, len(row.inputs) - 1)]
            for scheme in _schemes_of(operand, node, edge.arg):
                if not (scheme.dtype.is_integer and node.name in self.logarithmic):
                    found.setdefault(scheme, row)
        if not found and node.name in self.logarithmic:
            return _float(f"a logarithm of what {node.name} gives needs relative precision")
        if not found:
            text = f"'{rows[0].op}' computes only in float32"
            return Wish("float", (), Reason(text, str(rows[0].origin)))
        row = next(iter(found.values()))
        reason = Reason(f"{row}", str(row.origin))
        return Wish("soft" if soft else "hard", tuple(found), reason)


def _parameter_dtype(node: Node, name: str) -> str:
    """Element type of a parameter, seen from an operation that reads it."""
    for arg in flat_args(node.value):
        if getattr(arg, "name", None) == name:
            return str(arg.ty.dtype)
    return ""


def _float(text: str, source: str = RULES) -> Wish:
    return Wish("float", (), Reason(text, source))


def _is_small(node: Node, source: Node | None) -> bool:
    return source is not None and source.shape != node.shape


def _schemes_of(operand: Operand, node: Node, arg: int) -> list[QuantScheme]:
    """Schemes of one operand, finest granularity first; none for plain float32."""
    if operand.dtype.kind == "float" and operand.dtype.bits == 32:
        return []
    if not operand.dtype.is_quantized:
        return [QuantScheme(operand.dtype)]
    symmetric = not operand.zero_point
    if arg not in node.constants:
        return [QuantScheme(operand.dtype, PerTensor(), symmetric)]
    return [
        QuantScheme(operand.dtype, granularity, symmetric)
        for name in ("group", "channel", "tensor")
        if name in operand.granularity
        for granularity in _granularities(name, node)
    ] + _stored(operand, node)


def _stored(operand: Operand, node: Node) -> list[QuantScheme]:
    """Codes that are narrower in memory than what is multiplied: in groups where these fit."""
    if operand.storage is None or operand.dtype.is_integer:
        return []
    grouped = _granularities("group", node) if node.op == "matmul" else []
    return [
        QuantScheme(operand.storage, granularity, True, operand.dtype)
        for granularity in (*grouped, *_granularities("channel", node))
    ]


def _granularities(name: str, node: Node) -> list[Granularity]:
    """What "group", "channel" and "tensor" mean for the weights of ``node``."""
    if name == "tensor":
        return [PerTensor()]
    if name == "channel":
        return [PerAxis(0 if node.op == "nn.conv2d" else 1)]
    length = node.constants[1].shape[0]
    return [PerGroup(0, 128)] if node.op == "matmul" and length % 128 == 0 else []
