"""Fetching weights ahead: the next block of B comes from memory while this one is multiplied.

A block of B is read once from memory and then, row tile after row tile, from the second-level
cache. Hardware prefetchers stay within a page; without this, each block begins with a wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

Expr: TypeAlias = tir.Expr
_READ, _SECOND_LEVEL, _DATA = 0, 2, 1  # llvm.prefetch: rw, locality, cache type


@dataclass(frozen=True, eq=False)
class Stream:
    """``count`` packed vectors of B are fetched at every ``every``-th step of a tile.

    ``fetch(number, i)`` fetches the ``i``-th of those that belong to step ``number * every``.
    """

    every: int
    count: int
    fetch: Callable[[Expr, int], None]


def plan_stream(columns: int, rows: int, steps: int) -> tuple[int, int]:
    """(every, count): the ``rows`` tiles of a block together fetch the next ``columns`` vectors.

    ``every`` divides ``steps``, the steps of a tap.
    """
    most = max(rows // columns, 1)
    every = max(n for n in range(1, min(most, steps) + 1) if steps % n == 0)
    return every, -(-columns * every // rows)


def stream_from(
    first: Expr, last: int, plan: tuple[int, int], address: Callable[[Expr], Expr]
) -> Stream:
    """The packed vectors from number ``first``, up to ``last``, by :func:`plan_stream`."""
    every, count = plan
    return Stream(
        every, count, lambda step, i: fetch(address(tir.min(first + step * count + i, last)))
    )


def fetch(address: Expr) -> None:
    """PREFETCHT1 of the cache line at ``address``."""
    call = tir.call_llvm_intrin(
        "void", "llvm.prefetch.p0", address,
        tir.const(_READ, "int32"), tir.const(_SECOND_LEVEL, "int32"), tir.const(_DATA, "int32"),
    )  # fmt: skip
    T.evaluate(call)
