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
_LINE = 64  # bytes of a cache line
_READ, _SECOND_LEVEL, _DATA = 0, 2, 1  # llvm.prefetch: rw, locality, cache type


@dataclass(frozen=True, eq=False)
class Stream:
    """``count`` places of packed B are fetched at every ``every``-th step of a tile.

    ``fetch(number, i)`` fetches the ``i``-th of those that belong to step ``number * every``.
    """

    every: int
    count: int
    fetch: Callable[[Expr, int], None]


@dataclass(frozen=True)
class Plan:
    """At every ``every``-th step ``count`` fetches, each of ``vectors`` packed vectors."""

    every: int
    count: int
    vectors: int

    def ahead(self, steps: int) -> int:
        """Packed vectors that ``steps`` steps fetch."""
        return steps // self.every * self.count * self.vectors


def plan_stream(columns: int, rows: int, steps: int, size: int) -> Plan:
    """The ``rows`` tiles of a block together fetch the next: ``columns`` vectors of ``size`` bytes
    for each of the ``steps`` of a tap, which ``every`` divides.

    Several vectors at once are fetched by cache lines. One is fetched alone, though its line may
    be fetched twice: every half as often, loops of twice the length were not unrolled (a float32
    product of 128 rows took 1.1 times as long with AVX2)."""
    most = max(rows // columns, 1)
    every = max(n for n in range(1, min(most, steps) + 1) if steps % n == 0)
    count = -(-columns * every // rows)
    vectors = max(_LINE // size, 1) if count > 1 else 1
    return Plan(every, -(-count // vectors), vectors)


def stream_from(first: Expr, last: int, plan: Plan, address: Callable[[Expr], Expr]) -> Stream:
    """The packed vectors from number ``first``, up to ``last``, by :func:`plan_stream`.

    The lines of a step follow one another: only the first of them is compared with the last.
    """
    limit = max(last - (plan.count - 1) * plan.vectors, 0)

    def fetch_line(step: Expr, line: int) -> None:
        start = tir.min(first + step * (plan.count * plan.vectors), limit)
        fetch(address(start + line * plan.vectors))

    return Stream(plan.every, plan.count, fetch_line)


def fetch(address: Expr) -> None:
    """PREFETCHT1 of the cache line at ``address``."""
    call = tir.call_llvm_intrin(
        "void", "llvm.prefetch.p0", address,
        tir.const(_READ, "int32"), tir.const(_SECOND_LEVEL, "int32"), tir.const(_DATA, "int32"),
    )  # fmt: skip
    T.evaluate(call)
