"""How many vector instructions a kernel needs beside products, at least: they share the ports."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

from tvm import ir
from tvm import tirx as tir
from tvm_ffi import structural_visit

from hago.codegen.access import flat, store, vector
from hago.codegen.epilogue import Epilogue, Step
from hago.codegen.kernels.product import arguments, kernel

_LANES = 16  # any number does: each operation is on whole vectors
_SINGLE = (
    tir.Div, tir.Min, tir.Max, tir.Cast, tir.Select, tir.LT, tir.LE, tir.GT, tir.GE, tir.EQ, tir.NE,
    ir.Call,
)  # fmt: skip


def instructions_of(epilogue: Epilogue) -> int:
    """Vector instructions for each vector of the output: no kernel has fewer.

    A product and a sum count as one, as if all were fused; a call is one, a move none.
    """
    found = Counter(type(node) for node in _vectors(epilogue))
    sums, products = found[tir.Add] + found[tir.Sub], found[tir.Mul]
    return max(sums, products) + sum(found[kind] for kind in _SINGLE)


@cache
def reduction_instructions(kind: str) -> int:
    """The same for each vector of rows that are reduced.

    shifted_exp: the largest; a difference, its exp, zero for what is negligible.
    softmax: the same, the sum; a share.
    layer_norm: the sum; a difference, its square summed; the difference, times factor and gamma,
    and beta (its product fused).
    rms_norm: a square summed; times factor and gamma.
    sum: an addition.
    """
    exp = Epilogue("float32", "float32", steps=(Step("exp", (0,)),))
    power = 1 + 1 + instructions_of(exp) + 2
    norms = {"layer_norm": 1 + 2 + 3, "rms_norm": 1 + 2}
    return {"softmax": power + 2, "shifted_exp": power, "sum": 1, **norms}[kind]


def _vectors(epilogue: Epilogue) -> list[Any]:
    """Every expression of the emitted code whose value is a vector."""
    operands = [((_LANES,), operand.dtype) for operand in epilogue.operands]
    types = [((_LANES,), epilogue.accumulator), *operands, ((_LANES,), epilogue.dtype)]
    with kernel("epilogue") as builder:
        accumulator, *others, output = (flat(b) for b in arguments("", types))
        value = epilogue.emit(
            vector(accumulator, 0, _LANES), lambda i: vector(others[i], 0, _LANES)
        )
        store(output, value, 0, _LANES)
    found: list[Any] = []

    def visit(node: Any, visitor: Any) -> None:
        if str(getattr(node, "ty", "")).endswith(f"x{_LANES}"):
            found.append(node)
        visitor.default_visit(node)

    structural_visit(builder.get().body, visit)
    return found
