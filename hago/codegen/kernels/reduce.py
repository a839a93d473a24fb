"""What needs the whole of a row first: normalisations over the last axis, and their parts.

    softmax:      out[r, i] = epilogue(exp(a[r, i] - max_j a[r, j]) / sum_j exp(a[r, j] - max))
    layer_norm:   out[r, i] = epilogue((a[r, i] - mean_r) / sqrt(var_r + eps) * gamma[i] + beta[i])
    rms_norm:     out[r, i] = epilogue(a[r, i] / sqrt(mean_r(a^2) + eps) * gamma[i])
    shifted_exp:  out[r, i] = epilogue(exp(a[r, i] - max_j a[r, j]))
    sum:          out[r, 0] = epilogue(sum_j a[r, j])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import flat, load_operand, store, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.narrow import MOST, lanes_of, narrow
from hago.codegen.tile import pieces
from hago.codegen.workload import Kernel, Machine, RowReduce

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
Join: TypeAlias = Callable[[Expr, Expr], Expr]
# Powers below e^-64 are zero in a softmax. Masked positions would have subnormal shares otherwise,
# and products of subnormal numbers are up to a hundred times slower than others.
_NEGLIGIBLE = -64.0
# Rows: a row alone waits for its own sums and for the lanes of exp, and four pack their bytes.
_TOGETHER = MOST


@dataclass(frozen=True, eq=False)
class _Row:
    """A row by number, its place among those that are normalised together, and the element that
    it starts at."""

    number: Expr
    place: int
    start: Expr


@dataclass(frozen=True, eq=False)
class _Piece:
    """``lanes`` elements of a row from ``first``; the last ``fresh`` were in no piece before."""

    first: Expr
    lanes: int
    fresh: int

    def once(self, value: Expr, neutral: float) -> Expr:
        """``value``, but ``neutral`` in lanes that were in a piece before."""
        if self.fresh == self.lanes:
            return value
        known = tir.const(self.lanes - self.fresh, "int32")
        is_fresh = tir.Ramp(0, 1, self.lanes) >= tir.Broadcast(known, self.lanes)
        return tir.Select(is_fresh, value, v.splat(neutral, value, v.dtype_of(value)[0]))


# A vector of a row, or nothing
Body: TypeAlias = Callable[[_Row, _Piece], Any]


def build_row_reduce(workload: RowReduce, epilogue: Epilogue, machine: Machine) -> Kernel:
    """``func(data [rows, length], [gamma, [beta,]] *operands, output)``."""
    affine = [((workload.length,), "float32")] * len(workload.parameters)
    types = [
        ((workload.rows, workload.length), workload.data),
        *affine,
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel(workload.kind) as builder:
        data, *rest, output = [flat(b) for b in arguments("data", types)]
        count = len(affine)
        emit_row_reduce(
            workload, epilogue, machine, data, rest[count:], output, affine=rest[:count]
        )
    return Kernel(builder.get(), None, workload.kind)


def emit_row_reduce(
    workload: RowReduce,
    epilogue: Epilogue,
    machine: Machine,
    data: Buffer,
    operands: Sequence[Buffer],
    output: Buffer,
    affine: Sequence[Buffer] = (),
) -> None:
    """The same inside an open PrimFunc, all buffers flat; ``affine`` are the parameters."""
    emitter = _Emitter(workload, machine.lanes, epilogue, data, affine, operands, output)
    together = min(_TOGETHER, workload.rows)
    with T.parallel(0, workload.rows // together) as task:
        emitter.rows([T.Bind(task * together + row) for row in range(together)])
    done = workload.rows // together * together
    if done < workload.rows:
        emitter.rows([tir.const(row, "int32") for row in range(done, workload.rows)])


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
        """The results of ``rows``, together."""
        body = {
            "softmax": self._softmax,
            "layer_norm": self._layer_norm,
            "rms_norm": self._rms_norm,
            "shifted_exp": self._shifted_exp,
            "sum": self._sum,
        }[self.workload.kind]
        length = self.workload.length
        body([_Row(row, place, T.Bind(row * length)) for place, row in enumerate(rows)])

    def _softmax(self, rows: Sequence[_Row]) -> None:
        shifted_exp = self._less_largest(rows)
        powers = [T.alloc_buffer((self.workload.length,), "float32") for _ in rows]

        def power(row: _Row, piece: _Piece) -> Expr:
            value = shifted_exp(row, piece)
            store(powers[row.place], value, piece.first, piece.lanes)
            return value

        totals = self._reduced(rows, 0.0, _add, power)
        factors = [T.Bind(tir.const(1.0, "float32") / total) for total in totals]

        def share(row: _Row, piece: _Piece) -> Expr:
            value = vector(powers[row.place], piece.first, piece.lanes)
            return value * _spread(factors[row.place], piece.lanes)

        self._leave_each(rows, share)

    def _shifted_exp(self, rows: Sequence[_Row]) -> None:
        self._leave_each(rows, self._less_largest(rows))

    def _less_largest(self, rows: Sequence[_Row]) -> Body:
        """exp of what is left of an element without the largest of its row."""
        lowest = float(np.finfo(np.float32).min)
        largest = self._reduced(rows, lowest, tir.max, self._load)

        def power(row: _Row, piece: _Piece) -> Expr:
            shifted = self._load(row, piece) - _spread(largest[row.place], piece.lanes)
            return v.bind(_power(shifted))

        return power

    def _sum(self, rows: Sequence[_Row]) -> None:
        only = _Piece(tir.const(0, "int32"), 1, 1)
        for row, total in zip(rows, self._reduced(rows, 0, _add, self._load), strict=True):
            self._leave([replace(row, start=row.number)], only, [total])

    def _layer_norm(self, rows: Sequence[_Row]) -> None:
        part = tir.const(1.0 / self.workload.length, "float32")
        means = [T.Bind(total * part) for total in self._reduced(rows, 0.0, _add, self._load)]

        def centred(row: _Row, piece: _Piece) -> Expr:
            return v.bind(self._load(row, piece) - _spread(means[row.place], piece.lanes))

        self._leave_scaled(rows, centred)

    def _rms_norm(self, rows: Sequence[_Row]) -> None:
        self._leave_scaled(rows, lambda row, piece: v.bind(self._load(row, piece)))

    def _leave_scaled(self, rows: Sequence[_Row], value: Body) -> None:
        """Writes the results for ``value(row, piece)`` over its root mean square in the row, times
        gamma, and beta."""

        def square(row: _Row, piece: _Piece) -> Expr:
            each = value(row, piece)
            return each * each

        one, part, epsilon = (
            tir.const(number, "float32")
            for number in (1.0, 1.0 / self.workload.length, self.workload.epsilon)
        )
        squares = self._reduced(rows, 0.0, _add, square)
        factors = [T.Bind(one / tir.sqrt(total * part + epsilon)) for total in squares]

        def normal(row: _Row, piece: _Piece) -> Expr:
            gamma, *beta = (vector(buffer, piece.first, piece.lanes) for buffer in self.affine)
            scaled = value(row, piece) * _spread(factors[row.place], piece.lanes) * gamma
            return sum(beta, scaled)

        self._leave_each(rows, normal)

    def _load(self, row: _Row, piece: _Piece) -> Expr:
        value = vector(self.data, row.start + piece.first, piece.lanes)
        return v.loaded(value, self.workload.data, self.workload.accum)

    def _leave_each(self, rows: Sequence[_Row], value: Body) -> None:
        """Writes the results for ``value(row, piece)`` over all pieces."""
        self._pieces(lambda piece: self._leave(rows, piece, [value(row, piece) for row in rows]))

    def _leave(self, rows: Sequence[_Row], piece: _Piece, values: Sequence[Expr]) -> None:
        """The epilogue's results for ``values``, written where ``rows`` start in the output; bytes
        of several rows are packed together."""
        loads = [self._operands(row, piece) for row in rows]
        narrowing = self.epilogue.narrowing
        if narrowing is None or len(rows) == 1 or piece.lanes < self.lanes:
            results = [self.epilogue.emit(*each) for each in zip(values, loads, strict=True)]
        else:
            codes = [self.epilogue.emit_codes(*each) for each in zip(values, loads, strict=True)]
            packed = narrow(codes, narrowing.zero_point, narrowing.dtype, self.lanes)
            results = [
                lanes_of(packed, place * self.lanes, self.lanes) for place in range(len(rows))
            ]
        for row, result in zip(rows, results, strict=True):
            store(self.output, result, row.start + piece.first, piece.lanes)

    def _operands(self, row: _Row, piece: _Piece) -> Callable[[int], Expr]:
        shape = self.workload.output_shape

        def load(i: int) -> Expr:
            operand, buffer = self.epilogue.operands[i], self.operands[i]
            return load_operand(buffer, operand, shape, row.number, piece.first, piece.lanes)

        return load

    def _each(self, rows: Sequence[_Row], body: Body) -> None:
        """``body(row, piece)`` over all pieces, the rows in turns."""

        def turn(piece: _Piece) -> None:
            for row in rows:
                body(row, piece)

        self._pieces(turn)

    def _pieces(self, turn: Callable[[_Piece], None]) -> None:
        """``turn(piece)`` for all pieces of a row."""
        length, lanes = self.workload.length, self.lanes
        if length < lanes:
            for offset, count in pieces(length):
                turn(_Piece(tir.const(offset, "int32"), count, count))
            return
        with T.serial(0, length // lanes) as i:
            turn(_Piece(T.Bind(i * lanes), lanes, lanes))
        if length % lanes:
            turn(_Piece(tir.const(length - lanes, "int32"), lanes, length % lanes))

    def _reduced(self, rows: Sequence[_Row], start: float, join: Join, value: Body) -> list[Expr]:
        """``value`` over each row joined into one number: lanes first, then across them.
        ``start`` joined with anything is the other."""
        accum = self.workload.accum
        partial = [T.alloc_buffer((self.lanes,), accum) for _ in rows]
        single = [T.alloc_buffer((1,), accum) for _ in rows]
        for buffer in partial:
            store(buffer, _spread(tir.const(start, accum), self.lanes), 0, self.lanes)

        def take(row: _Row, piece: _Piece) -> None:
            so_far = vector(partial[row.place], 0, piece.lanes)
            joined = join(so_far, piece.once(value(row, piece), start))
            store(partial[row.place], joined, 0, piece.lanes)

        self._each(rows, take)
        for lanes, number in zip(partial, single, strict=True):
            joined = _across(T.Bind(vector(lanes, 0, self.lanes)), self.lanes, join)
            T.buffer_store(number, joined, [0])
        return [T.Bind(number[0]) for number in single]


def _power(shifted: Expr) -> Expr:
    """exp of a softmax's argument, which is zero or less."""
    shifted = v.bind(shifted)
    is_large = shifted > v.splat(_NEGLIGIBLE, shifted)
    return tir.Select(is_large, v.OPERATIONS["exp"].emit(shifted), v.splat(0.0, shifted))


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
