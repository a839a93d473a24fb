"""Reading operands and writing results by (row, channel) of a kernel's logical output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.epilogue import Operand
from hago.codegen.vector import storage

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs


def flat(buffer: Buffer) -> Buffer:
    """The same memory as one dimension; of bfloat16, its bits."""
    shape = [int(extent) for extent in buffer.shape]
    return T.decl_buffer((math.prod(shape),), storage(str(buffer.dtype)), data=buffer.data)


def vector(buffer: Buffer, index: Expr, lanes: int) -> Expr:
    """``lanes`` consecutive elements of a flat buffer."""
    return buffer[tir.Ramp(index, 1, lanes)] if lanes > 1 else buffer[index]


def store(buffer: Buffer, value: Expr, index: Expr, lanes: int) -> None:
    """Write ``lanes`` consecutive elements of a flat buffer."""
    T.buffer_store(buffer, value, [tir.Ramp(index, 1, lanes) if lanes > 1 else index])


def divided(index: Expr, size: Expr | int) -> tuple[Expr, Expr]:
    """The quotient and the remainder, bound."""
    return T.Bind(tir.floordiv(index, size)), T.Bind(tir.floormod(index, size))


def load_operand(
    buffer: Buffer,
    operand: Operand,
    output: Sequence[int],
    row: Expr,
    channel: Expr,
    lanes: int,
) -> Expr:
    """Lanes of ``operand`` for output elements (row, channel .. channel + lanes).

    ``row`` counts all dimensions of ``output`` but the last; ``operand.shape`` broadcasts
    against ``output``.
    """
    shape = (1,) * (len(output) - len(operand.shape)) + tuple(operand.shape)
    start = broadcast_row(shape, output, row) * shape[-1]
    if shape[-1] == 1 and output[-1] != 1:
        value = buffer[start]
        return tir.Broadcast(value, lanes) if lanes > 1 else value
    return vector(buffer, start + channel, lanes)


def broadcast_row(shape: Sequence[int], output: Sequence[int], row: Expr) -> Expr:
    """The row of a tensor of ``shape`` that output row ``row`` reads."""
    if tuple(shape[:-1]) == tuple(output[:-1]):
        return row
    index: Expr = tir.const(0, "int32")
    for axis in range(len(output) - 1):
        if shape[axis] == 1:
            continue
        below = math.prod(output[axis + 1 : -1])
        coordinate = tir.floormod(tir.floordiv(row, below), output[axis])
        index = index + coordinate * math.prod(shape[axis + 1 : -1])
    return index
