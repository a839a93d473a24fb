"""Elementwise expressions over whole tensors: out[i] = epilogue(a[i])."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import flat, load_operand, store, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.tile import pieces
from hago.codegen.workload import Elementwise, Kernel, Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_CHUNK = 4096  # elements of one parallel task where the tensor is one long row


def build_elementwise(workload: Elementwise, epilogue: Epilogue, machine: Machine) -> Kernel:
    """``func(data, *operands, output)``, all of ``workload.shape`` or broadcast against it."""
    shape = workload.shape or (1,)
    types = [
        (workload.shape, workload.data),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.shape, epilogue.dtype),
    ]
    with kernel("elementwise") as builder:
        data, *operands, output = [flat(b) for b in arguments("data", types)]
        logical = collapsed(shape, epilogue)

        def apply(row: Expr, channel: Expr, count: int) -> None:
            index = row * logical[-1] + channel
            acc = vector(data, index, count)

            def load(i: int) -> Expr:
                operand = epilogue.operands[i]
                if math.prod(operand.shape) == math.prod(shape):
                    return vector(operands[i], index, count)
                return load_operand(operands[i], operand, logical, row, channel, count)

            store(output, epilogue.emit(acc, load), index, count)

        each_vector(math.prod(logical[:-1]), logical[-1], machine.lanes, apply)
    return Kernel(builder.get(), None, "elementwise")


def collapsed(shape: tuple[int, ...], epilogue: Epilogue) -> tuple[int, ...]:
    """One long row (in chunks) where every operand is the whole tensor or one number."""
    total = math.prod(shape)
    if all(math.prod(operand.shape) in (1, total) for operand in epilogue.operands):
        chunk = next((c for c in (_CHUNK, 1024, 256) if total % c == 0), total)
        return (total // chunk, chunk)
    return shape


def each_vector(rows: int, length: int, lanes: int, apply: Any) -> None:
    """``apply(row, first, lanes)`` over all elements of ``rows`` x ``length``, rows in parallel."""
    with T.parallel(0, rows) as row:
        if length >= lanes:
            with T.serial(0, length // lanes) as i:
                apply(row, T.Bind(i * lanes), lanes)
        done = length // lanes * lanes
        for offset, count in pieces(length % lanes):
            apply(row, tir.const(done + offset, "int32"), count)
