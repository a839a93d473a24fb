"""A in the element type that an instruction reads, rows padded to its depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import store, vector
from hago.codegen.intrin.dot import Dot
from hago.codegen.tile import pieces

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_LANES = 32


def as_dot_data(
    data: Buffer,
    shape: Sequence[int],
    pitch: int,
    dot: Dot,
    dtype: str,
    start: Callable[[Expr], Expr] | None = None,
) -> Buffer:
    """Flat ``data`` [rows, length] as ``dot.data`` with rows ``pitch`` apart, zeros between.

    The same buffer where it is that already; otherwise a copy in scratch memory. ``start`` says
    where a row starts whose neighbours are elsewhere: such are always copied.
    """
    rows, length = shape
    if v.storage(dtype) == dot.data and pitch == length and start is None:
        return data
    copy = T.alloc_buffer((rows * pitch,), dot.data)
    with T.parallel(0, rows) as row:
        first = row * length if start is None else T.Bind(start(row))
        copy_run(copy, row * pitch, data, first, length, dot.data)
        if pitch > length:
            fill(copy, row * pitch + length, pitch - length, 0, dot.data)
    return copy


def copy_run(
    target: Buffer, to: Expr, source: Buffer, start: Expr, length: int, dtype: str
) -> None:
    """Copy ``length`` consecutive elements, converting to ``dtype``."""
    with T.serial(0, length // _LANES) as i:
        value = v.cast(vector(source, start + i * _LANES, _LANES), dtype)
        store(target, value, to + i * _LANES, _LANES)
    done = length // _LANES * _LANES
    for offset, lanes in pieces(length % _LANES):
        value = v.cast(vector(source, start + done + offset, lanes), dtype)
        store(target, value, to + done + offset, lanes)


def fill(target: Buffer, to: Expr, length: int, value: int, dtype: str) -> None:
    """Write ``value`` to ``length`` consecutive elements."""
    constant = tir.const(value, dtype)
    with T.serial(0, length // _LANES) as i:
        store(target, tir.Broadcast(constant, _LANES), to + i * _LANES, _LANES)
    done = length // _LANES * _LANES
    for offset, lanes in pieces(length % _LANES):
        filler = tir.Broadcast(constant, lanes) if lanes > 1 else constant
        store(target, filler, to + done + offset, lanes)
