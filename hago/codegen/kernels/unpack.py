"""Weights out of the bits that they are stored in: out[i] = code i of hago/codegen/planes.py, plus
the shift of its channel where there are any (hago/codegen/shifts.py).

It runs in front of each product whose weights are stored so. A vector of codes takes two or three
instructions a plane, so with more than a few rows of data it is little beside the product itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import flat, store, vector
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.planes import packed_bytes, planes
from hago.codegen.workload import Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_TASK = 64  # blocks; fewer are not worth a thread


def build_unpack(
    shape: tuple[int, ...], dtype: str, bits: int, machine: Machine, repeat: int = 0
) -> tir.PrimFunc:
    """``func(bytes, [shifts,] output)``: the codes of ``bits`` bits as integers ``dtype`` of
    ``shape``. There are shifts [outer, lanes] for each ``repeat`` vectors, if that is not 0."""
    lanes, count = machine.vector_bytes, math.prod(shape)
    size = packed_bytes(count, bits, lanes)
    shifts = [((count // lanes // repeat, shape[-2]), "int8")] if repeat else []
    with kernel("unpack") as builder:
        packed, *more, output = arguments("packed", [((size,), "uint8"), *shifts, (shape, dtype)])
        whole, rest = divmod(count, 8 * lanes)
        shift = _Shift(flat(more[0]), repeat, shape[-2], shape[-1]) if more else None
        emitter = _Emitter(flat(packed), flat(output), dtype, bits, lanes, shift)
        if whole:
            tasks = -(-whole // _TASK)
            with T.parallel(0, tasks) as task:
                blocks = tir.min(tir.const(_TASK, "int32"), whole - task * _TASK)
                with T.serial(0, blocks if whole % _TASK else _TASK) as block:
                    emitter.block(T.Bind(task * _TASK + block), 8 * lanes)
        if rest:
            emitter.block(tir.const(whole, "int32"), rest)
    return builder.get()


@dataclass(frozen=True, eq=False)
class _Shift:
    """``shifts`` of ``lanes`` channels for each ``repeat`` vectors of ``lanes * depth`` codes."""

    shifts: Buffer
    repeat: int
    lanes: int
    depth: int

    def of(self, number: Expr) -> Expr:
        """What is added to vector ``number``."""
        start = T.Bind(tir.floordiv(number, self.repeat) * self.lanes)
        each = T.Bind(vector(self.shifts, start, self.lanes))
        order = [place // self.depth for place in range(self.lanes * self.depth)]
        return tir.Shuffle([each] * self.depth, order)  # TVM wants no fewer lanes than come out


class _Emitter:
    """Unpacks block by block (inside an open PrimFunc)."""

    def __init__(
        self,
        packed: Buffer,
        output: Buffer,
        dtype: str,
        bits: int,
        lanes: int,
        shift: _Shift | None,
    ) -> None:
        self.packed, self.output, self.dtype = packed, output, dtype
        self.bits, self.lanes, self.shift = bits, lanes, shift

    def block(self, number: Expr, count: int) -> None:
        """The first ``count`` codes of block ``number``."""
        start = T.Bind(number * (8 * self.lanes))
        base = T.Bind(number * (self.bits * self.lanes))
        loaded = [
            T.Bind(vector(self.packed, base + i * self.lanes, self.lanes))
            for i in range(self.bits)
        ]
        for place in range(-(-count // self.lanes)):
            width = min(self.lanes, count - place * self.lanes)
            codes = self._signed(self._codes(loaded, place), number * 8 + place)
            self._store(codes, start + place * self.lanes, width)

    def _codes(self, loaded: list[Expr], place: int) -> Expr:
        """Vector ``place`` of a block, still with its offset."""
        total: Expr | None = None
        first, low = 0, 0
        for width in planes(self.bits):
            source, part = divmod(place, 8 // width)
            bits = _shifted(loaded[first + source], part * width, low)
            mask = v.splat((2**width - 1) << low, bits, "uint8")
            bits = tir.bitwise_and(bits, mask)
            total = bits if total is None else tir.bitwise_or(total, bits)
            first, low = first + width, low + width
        assert total is not None, self.bits
        return total

    def _signed(self, codes: Expr, number: Expr) -> Expr:
        """Vector ``number`` without its offset, with its shifts."""
        offset = v.splat(2 ** (self.bits - 1), codes, "int8")
        signed = T.Bind(tir.reinterpret(f"int8x{self.lanes}", codes) - offset)
        return signed if self.shift is None else T.Bind(signed + self.shift.of(number))

    def _store(self, signed: Expr, index: Expr, width: int) -> None:
        if width == self.lanes:
            store(self.output, v.cast(signed, self.dtype), index, width)
            return
        for lane in range(width):  # the last few codes, once a tensor
            value = v.cast(tir.Shuffle([signed], [lane]), self.dtype)
            store(self.output, value, index + lane, 1)


def _shifted(value: Expr, right: int, left: int) -> Expr:
    """``value >> right << left``; bits that come in from elsewhere are masked after it."""
    if right > left:
        return value >> v.splat(right - left, value, "uint8")
    if left > right:
        return value << v.splat(left - right, value, "uint8")
    return value
