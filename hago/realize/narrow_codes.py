"""Codes of few bits are not rounded a second time behind what only moves them.

    quantize(clip(dequantize(x, s, z), a, b), s, z)  =>  x     where x was rounded so already

Codes that fill their type need no clip: :mod:`hago.realize.integerize` leaves out theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import ir, relax

from hago.annotate.operators import passes_codes
from hago.dataflow import Dataflow, Node, read_dataflow
from hago.rebuild import Values, rebuild, substitute


def fold_narrow_codes(module: ir.IRModule) -> ir.IRModule:
    """``module`` (integer) without such pairs."""
    dataflow = read_dataflow(module)
    found = _Roundings(dataflow)
    folded = {n.name: source for n in dataflow.nodes if (source := found.rounded_before(n))}
    if not folded:
        return module

    def rewrite(_: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        source = folded.get(str(binding.var.name))
        return values[source] if source else substitute(binding.value, values)

    return relax.transform.DeadCodeElimination()(rebuild(module, rewrite))


@dataclass(frozen=True)
class _Rounding:
    """The numbers of a quantize, and the bounds of the clip in front of it."""

    dtype: str
    scale: float
    zero_point: int
    low: float
    high: float


class _Roundings:
    """What is known of tensors of codes, by following them back."""

    def __init__(self, dataflow: Dataflow) -> None:
        self.nodes = dataflow.by_name()

    def rounded_before(self, node: Node) -> str | None:
        """The codes that ``node`` gives again, or None."""
        rounding = self._rounding(node)
        if rounding is None:
            return None
        real = self.nodes.get(self.nodes[node.inputs[0]].inputs[0])
        if real is None or real.op != "dequantize" or set(real.constants) != {1, 2}:
            return None
        codes = self.nodes.get(real.inputs[0])
        if codes is None or not _has_numbers(real, rounding):
            return None
        return codes.name if self._keeps_to(codes, rounding) else None

    def _keeps_to(self, codes: Node, rounding: _Rounding) -> bool:
        """Whether ``codes`` come from roundings like this one, moved at most."""
        if not passes_codes(codes):
            return self._rounding(codes) == rounding
        sources = [self.nodes.get(name) for name in codes.inputs]
        return all(each is not None and self._keeps_to(each, rounding) for each in sources)

    def _rounding(self, node: Node) -> _Rounding | None:
        if node.op != "quantize" or any(value.size != 1 for value in node.constants.values()):
            return None
        clip = self.nodes.get(node.inputs[0])
        if clip is None or clip.op != "clip":
            return None
        low, high = (float(getattr(a.value, "value", a.value)) for a in clip.call.args[1:3])
        scale, zero_point = (node.constants[arg].item() for arg in (1, 2))
        return _Rounding(node.dtype, scale, zero_point, low, high)


def _has_numbers(real: Node, rounding: _Rounding) -> bool:
    codes, scale, zero_point = real.call.args[0], real.constants[1], real.constants[2]
    same = scale.size == 1 and np.float32(scale.item()) == np.float32(rounding.scale)
    return bool(same and zero_point.item() == rounding.zero_point) and (
        str(codes.ty.dtype) == rounding.dtype
    )
