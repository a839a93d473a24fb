"""Attention with scores that stay in the cache: a few rows of a head at a time.

    scores = q k^T    powers = exp(scores - max)    totals = sum(powers)    contexts = powers v

What is between the two products is as large as the square of the tokens, and each kernel would
write all of it before the next one reads it. Here a task computes it for some rows of one head, in
scratch memory of its own. Each task of a head packs keys and values anew, which takes as long as a
few more rows would.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import tvm_ffi
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import divided, flat
from hago.codegen.epilogue import Epilogue, Operand
from hago.codegen.kernels.batch_matmul import emit_batch_matmul, multiplies_batches
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.kernels.reduce import emit_row_reduce
from hago.codegen.vector import storage
from hago.codegen.workload import Attention, BatchMatmul, Kernel, Machine, Strides

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_MOST = 128  # rows of a head in a task: they stay in the cache with their scores
_TASKS, _LEAST = 16, 64  # so many tasks, if each has so many rows: few share threads unevenly
_TASK = "hago.task"  # marks the loop over tasks: those inside of it are one thread's


def attends(workload: Attention, machine: Machine) -> bool:
    """Whether :func:`build_attention` takes the workload."""
    products = (workload.scores, workload.contexts)
    return all(multiplies_batches(_part(each, each.m), machine) for each in products)


def build_attention(workload: Attention, epilogue: Epilogue, machine: Machine) -> Kernel:
    """``func(queries, keys, values, *operands, output)``, the operands of all four epilogues in
    turn but the totals; matrices lie where the workload's products say."""
    scores, contexts = workload.scores, workload.contexts
    epilogues = (*workload.epilogues, epilogue)
    given = [operand for each in epilogues for operand in each.operands]
    del given[sum(len(each.operands) for each in workload.epilogues) + workload.total]
    types = [
        (scores.left_memory, scores.data),
        (scores.right_memory, scores.weight),
        (contexts.right_memory, contexts.weight),
        *((operand.shape, operand.dtype) for operand in given),
        (contexts.output_memory, epilogue.dtype),
    ]
    blocks = _blocks(scores)
    count = -(-scores.m // blocks)
    with kernel("attention") as builder:
        buffers = [flat(each) for each in arguments("queries keys values", types)]
        with T.parallel(0, scores.batch * blocks, annotations={_TASK: True}) as task:
            head, block = divided(task, blocks)
            # The last block computes some rows of the one before it once more.
            first = T.Bind(tir.min(block * count, scores.m - count))
            rows = _Rows(count, scores.m, head, first)
            _Emitter(workload, epilogue, machine, rows).emit(buffers)
    return Kernel(_serial_inside(builder.get()), None, "attention")


def _blocks(scores: BatchMatmul) -> int:
    """In how many parts the rows of a head are computed: few, for each packs keys and values."""
    return max(-(-scores.m // _MOST), min(-(-_TASKS // scores.batch), scores.m // _LEAST), 1)


def _part(work: BatchMatmul, rows: int) -> BatchMatmul:
    """``rows`` of one matrix of ``work``."""
    left, right, output = (
        strides and replace(strides, heads=1, image=0, head=0)
        for strides in (work.left, work.right, work.output)
    )
    return replace(work, batch=1, m=rows, left=left, right=right, output=output)


@dataclass(frozen=True, eq=False)
class _Rows:
    """``count`` of the ``total`` rows of ``head``, from its row ``first`` on."""

    count: int
    total: int
    head: Expr
    first: Expr

    def start(self, strides: Strides) -> Expr:
        """Their first element in matrices with ``strides``."""
        return strides.start(self.head) + self.first * strides.row

    def of_operand(self, operand: Operand, output: Sequence[int]) -> tuple[Operand, Expr]:
        """What ``operand``, broadcast to ``output`` [.., rows, columns], is of them, and where it
        starts; ``output`` is that of all matrices."""
        shape = (1,) * (len(output) - len(operand.shape)) + tuple(operand.shape)
        *heads, rows, columns = shape
        start = tir.const(0, "int32")
        if len(heads) and heads[0] > 1:
            start = start + self.head * (rows * columns)
        if rows > 1:
            place = self.first if heads else self.head * self.total + self.first
            start = start + place * columns
        taken = self.count if rows > 1 else 1
        return replace(operand, shape=(*(1 for _ in heads), taken, columns)), start


@dataclass(frozen=True, eq=False)
class _Emitter:
    """The four computations for ``rows`` of a head."""

    workload: Attention
    epilogue: Epilogue
    machine: Machine
    rows: _Rows

    def emit(self, buffers: Sequence[Buffer]) -> None:
        workload, machine, count = self.workload, self.machine, self.rows.count
        queries, keys, values, *operands, output = buffers
        given = iter(operands)
        scores, contexts = (_part(w, count) for w in (workload.scores, workload.contexts))
        length = scores.n
        powers, totals = (replace(w, rows=count) for w in (workload.powers, workload.totals))
        of_scores, of_powers, of_totals = workload.epilogues
        score_rows, power_rows, total_rows = (
            T.alloc_buffer((count * columns,), storage(each.dtype))
            for each, columns in zip(workload.epilogues, (length, length, 1), strict=True)
        )

        part, read = self._operands(of_scores, workload.scores.output_shape, given)
        left = workload.scores.left or Strides.packed(workload.scores.m, workload.scores.k)
        right = workload.scores.right or Strides.packed(workload.scores.k, length)
        data = (_from(queries, self.rows.start(left)), _from(keys, right.start(self.rows.head)))
        emit_batch_matmul(scores, part, machine, data, read, score_rows)

        part, read = self._operands(of_powers, workload.powers.output_shape, given)
        emit_row_reduce(powers, part, machine, score_rows, read, power_rows)

        part, read = self._operands(of_totals, workload.totals.output_shape, given)
        emit_row_reduce(totals, part, machine, power_rows, read, total_rows)

        part, read = self._operands(
            self.epilogue, workload.output_shape, given, {workload.total: total_rows}
        )
        right = workload.contexts.right or Strides.packed(length, contexts.n)
        target = workload.contexts.output or Strides.packed(workload.contexts.m, contexts.n)
        data = (power_rows, _from(values, right.start(self.rows.head)))
        emit_batch_matmul(
            contexts, part, machine, data, read, _from(output, self.rows.start(target))
        )

    def _operands(
        self,
        epilogue: Epilogue,
        output: Sequence[int],
        given: Iterator[Buffer],
        known: dict[int, Buffer] | None = None,
    ) -> tuple[Epilogue, list[Buffer]]:
        """``epilogue`` for these rows alone, with its operands: what is ``known``, by number, is
        of these rows already."""
        parts, buffers = [], []
        for number, operand in enumerate(epilogue.operands):
            part, start = self.rows.of_operand(operand, output)
            parts.append(part)
            local = (known or {}).get(number)
            buffers.append(_from(next(given), start) if local is None else local)
        return replace(epilogue, operands=tuple(parts)), buffers


def _from(buffer: Buffer, start: Expr) -> Buffer:
    """Flat ``buffer`` from element ``start`` on."""
    size = math.prod(int(extent) for extent in buffer.shape)
    return T.decl_buffer((size,), str(buffer.dtype), data=buffer.data, elem_offset=T.Bind(start))


def _serial_inside(function: tir.PrimFunc) -> tir.PrimFunc:
    """``function`` with loops in parallel only over tasks: a thread does not start others."""

    def serial(loop: tir.For) -> tir.For:
        if loop.kind != tir.ForKind.PARALLEL or _TASK in loop.annotations:
            return loop
        return tir.For(loop.loop_var, loop.min, loop.extent, tir.ForKind.SERIAL, loop.body)

    return function.with_body(tvm_ffi.structural_map(function.body, (tir.For, serial)))
