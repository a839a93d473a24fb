"""Permutations that move the last axis: blocks are transposed in registers.

    out[.., i, .., j] = epilogue(a[.., j, .., i])

Where each output row is a column of the input, an element a store is what plain loops come to.
Here ``lanes`` vectors of 32-bit words are transposed by shuffles; bytes are interleaved to words
of four rows before, so that a block of bytes has four times as many rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import flat, load_operand, store, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.interleave import interleave
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.workload import Kernel, Machine, Permute

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_WORD = 4  # bytes


def transposes(workload: Permute, machine: Machine) -> bool:
    """Whether the permutation moves the last axis, and its blocks are full."""
    if not workload.moves_last or workload.data not in ("uint8", "int8", "int32", "float32"):
        return False
    rows = machine.vector_bytes // np.dtype(workload.data).itemsize
    return workload.shape[workload.axes[-1]] >= rows and workload.shape[-1] >= machine.lanes


def build_transpose(workload: Permute, epilogue: Epilogue, machine: Machine) -> Kernel:
    """``func(data, *operands, output)``."""
    shape = workload.output_shape
    types = [
        (workload.shape, workload.data),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (shape, epilogue.dtype),
    ]
    with kernel("transpose") as builder:
        data, *operands, output = [flat(b) for b in arguments("data", types)]
        _Emitter(workload, machine.lanes, epilogue, data, operands, output).emit()
    return Kernel(builder.get(), None, "transpose")


@dataclass(frozen=True, eq=False)
class _Emitter:
    workload: Permute
    lanes: int
    epilogue: Epilogue
    data: Buffer
    operands: Sequence[Buffer]
    output: Buffer

    def emit(self) -> None:
        """Blocks of input rows in parallel, of columns in turn; the last ones overlap."""
        shape, axes = self.workload.shape, self.workload.axes
        depth = _WORD // np.dtype(self.workload.data).itemsize
        rows, columns = shape[axes[-1]], shape[-1]
        size = self.lanes * depth
        blocks = -(-rows // size)
        outer = [axis for axis in axes[:-1] if axis != len(shape) - 1]
        with T.parallel(0, math.prod(shape[axis] for axis in outer) * blocks) as task:
            index = T.Bind(tir.floordiv(task, blocks))
            row = T.Bind(tir.min(tir.floormod(task, blocks) * size, rows - size))
            read, written = self._starts(outer, index)
            read = T.Bind(read + row * self.workload.stride(axes[-1]))
            with T.serial(0, -(-columns // self.lanes)) as block:
                column = T.Bind(tir.min(block * self.lanes, columns - self.lanes))
                vectors = self._load(T.Bind(read + column), depth)
                for i, words in enumerate(transposed(vectors)):
                    self._store(words, T.Bind(written + (column + i) * self._row_pitch), row, size)

    def _starts(self, outer: Sequence[int], index: Expr) -> tuple[Expr, Expr]:
        """Element of the input and row of the output at which matrix ``index`` starts."""
        shape, axes = self.workload.shape, self.workload.axes
        read: Expr = tir.const(0, "int32")
        written: Expr = tir.const(0, "int32")
        for number, axis in enumerate(outer):
            below = math.prod(shape[other] for other in outer[number + 1 :])
            coordinate = tir.floormod(tir.floordiv(index, below), shape[axis])
            read = read + coordinate * self.workload.stride(axis)
            rows_below = self.workload.output_shape[axes.index(axis) + 1 : -1]
            written = written + coordinate * math.prod(rows_below)
        return read, T.Bind(written)

    @property
    def _row_pitch(self) -> int:
        """Rows of the output between neighbours of the input's last axis."""
        position = self.workload.axes.index(len(self.workload.shape) - 1)
        return math.prod(self.workload.output_shape[position + 1 : -1])

    def _load(self, start: Expr, depth: int) -> list[Expr]:
        """``lanes`` vectors of words; word ``c`` of vector ``r`` holds rows ``depth * r``.. of
        column ``c``."""
        pitch = self.workload.stride(self.workload.axes[-1])
        rows = [
            T.Bind(vector(self.data, start + row * pitch, self.lanes))
            for row in range(self.lanes * depth)
        ]
        if depth == 1:
            return rows
        unsigned = [T.Bind(tir.reinterpret(f"uint8x{self.lanes}", row)) for row in rows]
        groups = [unsigned[i : i + depth] for i in range(0, len(rows), depth)]
        return [interleave(group, depth, self.lanes)[0] for group in groups]

    def _store(self, words: Expr, row: Expr, column: Expr, count: int) -> None:
        shape = self.workload.output_shape
        value = words
        if v.dtype_of(words)[0] != self.workload.data:
            value = T.Bind(tir.reinterpret(f"{self.workload.data}x{count}", words))

        def load(i: int) -> Expr:
            operand = self.epilogue.operands[i]
            return load_operand(self.operands[i], operand, shape, row, column, count)

        store(self.output, self.epilogue.emit(value, load), row * shape[-1] + column, count)


def transposed(vectors: Sequence[Expr]) -> list[Expr]:
    """Blocks of as many lanes as there are ``vectors``, with rows and columns exchanged: lane i of
    a block of vector j becomes lane j of that of vector i, by halves, quarters and so on."""
    lanes = v.dtype_of(vectors[0])[1]
    current, size = list(vectors), len(vectors) // 2
    while size:
        upper = [lane for lane in range(lanes) if lane & size]
        for i in (number for number in range(len(vectors)) if not number & size):
            a, b = current[i], current[i + size]
            low = [lane if lane not in upper else lanes + lane - size for lane in range(lanes)]
            high = [lane + size if lane not in upper else lanes + lane for lane in range(lanes)]
            current[i] = T.Bind(tir.Shuffle([a, b], low))
            current[i + size] = T.Bind(tir.Shuffle([a, b], high))
        size //= 2
    return current
