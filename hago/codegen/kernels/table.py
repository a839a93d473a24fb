"""Functions of one byte by a table of 256: out[i] = epilogue(table[a[i] - lowest]).

TBL looks 16 bytes up in 64 and gives 0 where an index is larger, TBX keeps what was there: four of
them, each with indices 64 smaller, take the table (Arm A-profile ARM, C7.2 TBL, TBX).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import flat, load_operand, store, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.elementwise import collapsed
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.workload import Kernel, Machine, Table

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_LANES, _AT_ONCE, _CODES = 16, 64, 256
INSTRUCTION = "tbl"


def looks_up(workload: Table, machine: Machine) -> bool:
    """Whether the machine's rows name the instruction. (Gathers of x86 are scalar loads.)"""
    return INSTRUCTION in machine.instructions


def build_table(workload: Table, epilogue: Epilogue, machine: Machine) -> Kernel:
    """``func(data, table [256], *operands, output)``; ``table`` starts with the lowest code's."""
    shape = workload.shape or (1,)
    types = [
        (workload.shape, workload.data),
        ((_CODES,), workload.gives),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.shape, epilogue.dtype),
    ]
    with kernel("table") as builder:
        data, table, *operands, output = [flat(b) for b in arguments("data table", types)]
        rows, length = _rows(shape, epilogue)

        def apply(found: Expr, row: Expr, first: Expr, count: int) -> None:
            index = row * length + first

            def load(i: int) -> Expr:
                operand = epilogue.operands[i]
                if math.prod(operand.shape) == math.prod(shape):
                    return vector(operands[i], index, count)
                return load_operand(operands[i], operand, (rows, length), row, first, count)

            store(output, epilogue.emit(found, load), index, count)

        with T.parallel(0, rows) as row:
            start = T.Bind(row * length)
            if length >= _LANES:
                parts = [T.Bind(vector(table, i, _LANES)) for i in range(0, _CODES, _LANES)]
                with T.serial(0, length // _LANES) as i:
                    codes = vector(data, start + i * _LANES, _LANES)
                    apply(_looked_up(parts, codes, workload), row, T.Bind(i * _LANES), _LANES)
            for place in range(length // _LANES * _LANES, length):
                code = v.cast(data[start + place], "int32") - int(np.iinfo(workload.data).min)
                apply(table[code], row, tir.const(place, "int32"), 1)
    return Kernel(builder.get(), None, "table")


def _rows(shape: Sequence[int], epilogue: Epilogue) -> tuple[int, int]:
    *outer, length = collapsed(tuple(shape), epilogue)
    return math.prod(outer), length


def _looked_up(parts: Sequence[Expr], codes: Expr, workload: Table) -> Expr:
    """The entries of 16 ``codes``; ``parts`` are the table's registers."""
    index = tir.reinterpret(f"uint8x{_LANES}", codes)
    if workload.data == "int8":
        index = tir.bitwise_xor(index, v.splat(0x80, index, "uint8"))
    index = T.Bind(index)
    found: Expr | None = None
    for first in range(0, _CODES, _AT_ONCE):
        registers = parts[first // _LANES : (first + _AT_ONCE) // _LANES]
        place = T.Bind(index - v.splat(first, index, "uint8")) if first else index
        if found is None:
            found = _call("tbl4", workload.gives, *registers, place)
        else:
            found = _call("tbx4", workload.gives, found, *registers, place)
    assert found is not None
    return found


def _call(name: str, dtype: str, *args: Expr) -> Expr:
    full = f"llvm.aarch64.neon.{name}.v{_LANES}i8"
    return T.Bind(tir.call_llvm_pure_intrin(f"{dtype}x{_LANES}", full, *args))
