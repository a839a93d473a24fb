"""What the loops of a PrimFunc look like."""

from __future__ import annotations

from tvm import tirx as tir

from hago.lower.cost import is_kernel


def is_scheduled(function: tir.PrimFunc) -> bool:
    """True for a kernel of a template, which is written in vectors, and for vectorised loops.

    TVM's default legalization gives neither.
    """
    return is_kernel(function) or "T.vectorized(" in function.script()
