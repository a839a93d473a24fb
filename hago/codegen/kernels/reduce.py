"""Normalisations of rows: softmax and layer normalisation over the last axis, in float32.

    softmax:     out[r, i] = epilogue(exp(a[r, i] - max_j a[r, j]) / sum_j exp(a[r, j] - max))
    layer_norm:  out[r, i] = epilogue((a[r, i] - mean_r) / sqrt(var_r + eps) * gamma[i] + beta[i])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import flat, load_operand, store, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.tile import pieces
from hago.codegen.workload import Kernel, Machine, RowReduce

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
Join: TypeAlias = Callable[[Expr, Expr], Expr]
_TOGETHER = 4  # rows: a row alone waits for its own sums and for the lanes of exp


@dataclass(frozen=True, eq=False)
class _Row:
    """A row by number, and the element that it starts at."""

    number: Expr
    start: Expr


# (number among the rows, row, first element, lanes) -> a vector, or nothing
Body: TypeAlias = Callable[[int, _Row, Expr, int], Any]


def build_row_reduce(workload: RowReduce, epilogue: Epilogue, machine: Machine) -> Kernel:
    """``func(data [rows, length], [gamma, beta,] *operands, output [rows, length])``."""
    shape = (workload.rows, workload.length)
    affine = [((workload.length,), "float32")] * 2 if workload.kind == "layer_norm" else []
    types = [
        (shape, "float32"),
        *affine,
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (shape, epilogue.dtype),
    ]
    with kernel(workload.kind) as builder:
        data, *rest, output = [flat(b) for b in arguments("data", types)]
        count = len(affine)
        emitter = _Emitter(
            workload, machine.lanes, epilogue, data, rest[:count], rest[count:], output
        )
        together = min(_TOGETHER, workload.rows)
        with T.parallel(0, workload.rows // together) as task:
            emitter.rows([T.Bind(task * together + row) for row in range(together)])
        done = workload.rows // together * together
        if done < workload.rows:
            emitter.rows([tir.const(row, "int32") for row in range(done, workload.rows)])
    return Kernel(builder.get(), None, workload.kind)


@dataclass(frozen=True, eq=False)
class _Emitter:
    workload: RowReduce
    lanes: int
    epilogue: Epilogue
    data: Buffer
    affine: Sequence[Buffer]
    operands: Sequence[Buffer]
    output: Buffer

    def rows(self, rows: Sequence[Expr]) -> None:
        """Normalise ``rows`` together."""
        body = {"softmax": self._softmax, "layer_norm": self._layer_norm}[self.workload.kind]
        body([_Row(row, T.Bind(row * self.workload.length)) for row in rows])

    def _softmax(self, rows: Sequence[_Row]) -> None:
        lowest = float(np.finfo(np.float32).min)
        largest = self._reduced(rows, lowest, tir.max, self._load)
        powers = [T.alloc_buffer((self.workload.length,), "float32") for _ in rows]

        def power(number: int, row: _Row, i: Expr, count: int) -> Expr:
            shifted = self._load(number, row, i, count) - _spread(largest[number], count)
            value = v.bind(v.OPERATIONS["exp"].emit(shifted))
            store(powers[number], value, i, count)
            return value

        totals = self._reduced(rows, 0.0, _add, power)
        factors = [T.Bind(tir.const(1.0, "float32") / total) for total in totals]

        def share(number: int, row: _Row, i: Expr, count: int) -> None:
            value = vector(powers[number], i, count) * _spread(factors[number], count)
            self._leave(row, value, i, count)

        self._each(rows, share)

    def _layer_norm(self, rows: Sequence[_Row]) -> None:
        share = tir.const(1.0 / self.workload.length, "float32")
        epsilon = tir.const(self.workload.epsilon, "float32")
        means = [T.Bind(total * share) for total in self._reduced(rows, 0.0, _add, self._load)]

        def centred(number: int, row: _Row, i: Expr, count: int) -> Expr:
            return v.bind(self._load(number, row, i, count) - _spread(means[number], count))

        def square(number: int, row: _Row, i: Expr, count: int) -> Expr:
            value = centred(number, row, i, count)
            return value * value

        one = tir.const(1.0, "float32")
        squares = self._reduced(rows, 0.0, _add, square)
        factors = [T.Bind(one / tir.sqrt(total * share + epsilon)) for total in squares]

        def normal(number: int, row: _Row, i: Expr, count: int) -> None:
            gamma, beta = (vector(buffer, i, count) for buffer in self.affine)
            value = centred(number, row, i, count) * _spread(factors[number], count)
            self._leave(row, value * gamma + beta, i, count)

        self._each(rows, normal)

    def _load(self, number: int, row: _Row, i: Expr, count: int) -> Expr:
        return vector(self.data, row.start + i, count)

    def _leave(self, row: _Row, value: Expr, channel: Expr, count: int) -> None:
        shape = (self.workload.rows, self.workload.length)

        def load(i: int) -> Expr:
            operand = self.epilogue.operands[i]
            return load_operand(self.operands[i], operand, shape, row.number, channel, count)

        store(self.output, self.epilogue.emit(value, load), row.start + channel, count)

    def _each(self, rows: Sequence[_Row], body: Body) -> None:
        """``body(number, row, first, lanes)`` over all vectors, the rows in turns."""
        length, lanes = self.workload.length, self.lanes

        def turn(i: Expr, count: int) -> None:
            for number, row in enumerate(rows):
                body(number, row, i, count)

        if length >= lanes:
            with T.serial(0, length // lanes) as i:
                turn(T.Bind(i * lanes), lanes)
        done = length // lanes * lanes
        for offset, count in pieces(length % lanes):
            turn(tir.const(done + offset, "int32"), count)

    def _reduced(self, rows: Sequence[_Row], start: float, join: Join, value: Body) -> list[Expr]:
        """``value`` over each row joined into one number: lanes first, then across them."""
        partial = [T.alloc_buffer((self.lanes,), "float32") for _ in rows]
        single = [T.alloc_buffer((1,), "float32") for _ in rows]
        for buffer in partial:
            store(buffer, _spread(tir.const(start, "float32"), self.lanes), 0, self.lanes)

        def take(number: int, row: _Row, i: Expr, count: int) -> None:
            so_far = vector(partial[number], 0, count)
            store(partial[number], join(so_far, value(number, row, i, count)), 0, count)

        self._each(rows, take)
        for lanes, number in zip(partial, single, strict=True):
            joined = _across(T.Bind(vector(lanes, 0, self.lanes)), self.lanes, join)
            T.buffer_store(number, joined, [0])
        return [T.Bind(number[0]) for number in single]


def _across(value: Expr, lanes: int, join: Join) -> Expr:
    """The lanes of a vector joined: halves with halves, which takes four steps for 16."""
    while lanes > 1:
        lanes //= 2
        low, high = (tir.Shuffle([value], list(range(i, i + lanes))) for i in (0, lanes))
        value = v.bind(join(low, high))
    return value


def _add(left: Expr, right: Expr) -> Expr:
    return left + right


def _spread(value: Expr, lanes: int) -> Expr:
    return tir.Broadcast(value, lanes) if lanes > 1 else value
