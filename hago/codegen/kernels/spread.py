"""Weights of depthwise convolutions, once for each output row of a band, from one copy.

    out[v, o, g, x, l, d] = w[v, r / depth, x, l, r % depth]      r = g depth + d - o step

and 0 where there is no such row ``r``: hago/codegen/kernels/depthwise_int8.py wants them so. A word
holds ``depth`` rows, so an output word is two neighbouring words of ``w``, shifted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import store, vector
from hago.codegen.kernels.product import arguments, kernel
from hago.scheme import Array

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
STEP = "hago.step"  # the attribute of a PrimFunc that takes spread weights
_WORD = 32  # bits


@dataclass(frozen=True)
class Spread:
    """The packed ``shape`` [vectors, outputs, groups, kw, lanes, depth], made from ``words`` words
    of rows, moved down by ``step`` rows for each output row."""

    shape: tuple[int, ...]
    words: int
    step: int

    @property
    def source(self) -> tuple[int, ...]:
        """The shape of the one copy."""
        vectors, _, _, *inner = self.shape
        return (vectors, self.words, *inner)


def find_spread(packed: Array, step: int) -> tuple[Spread, Array] | None:
    """What ``packed`` is made from; None where it is not spread so."""
    first = packed[:, 0]
    used = np.flatnonzero(np.any(first != 0, axis=(0, 2, 3, 4)))
    form = Spread(packed.shape, int(used[-1]) + 1 if len(used) else 1, step)
    one = np.ascontiguousarray(first[:, : form.words])
    return (form, one) if np.array_equal(spread(form, one), packed) else None


def spread(form: Spread, one: Array) -> Array:
    """The numpy meaning."""
    vectors, outputs, groups, kw, lanes, depth = form.shape
    rows = one.transpose(0, 1, 4, 2, 3).reshape(vectors, form.words * depth, kw, lanes)
    found = np.zeros((vectors, outputs, groups * depth, kw, lanes), one.dtype)
    for output in range(outputs):
        first = output * form.step
        count = min(rows.shape[1], groups * depth - first)
        found[:, output, first : first + count] = rows[:, :count]
    split = found.reshape(vectors, outputs, groups, depth, kw, lanes)
    return np.ascontiguousarray(split.transpose(0, 1, 2, 4, 5, 3))


def build_spread(form: Spread, dtype: str) -> tir.PrimFunc:
    """``func(one copy, output)``."""
    vectors, outputs, groups, kw, lanes, _ = form.shape
    with kernel("spread") as builder:
        one, output = arguments("one output", [(form.source, dtype), (form.shape, dtype)])
        source, target = (_words(buffer) for buffer in (one, output))
        with T.parallel(0, vectors) as number, T.serial(0, kw) as x:
            loaded = [
                T.Bind(vector(source, ((number * form.words + word) * kw + x) * lanes, lanes))
                for word in range(form.words)
            ]
            for row in range(outputs):
                for group in range(groups):
                    place = ((number * outputs + row) * groups + group) * kw + x
                    store(target, _moved(loaded, form, row, group), place * lanes, lanes)
    return builder.get()


def _moved(loaded: list[Expr], form: Spread, row: int, group: int) -> Expr:
    """Word ``group`` of output row ``row``."""
    depth, lanes = form.shape[5], form.shape[4]
    words, rest = divmod(row * form.step, depth)
    bits, total = rest * (_WORD // depth), None
    for place, shift in ((group - words, bits), (group - words - 1, bits - _WORD)):
        if not 0 <= place < len(loaded) or shift == -_WORD:
            continue
        amount = v.splat(abs(shift), loaded[place], "uint32")
        part = loaded[place] << amount if shift >= 0 else loaded[place] >> amount
        total = part if total is None else tir.bitwise_or(total, part)
    return tir.Broadcast(tir.const(0, "uint32"), lanes) if total is None else total


def _words(buffer: Buffer) -> Buffer:
    """The same memory as words."""
    size = math.prod(int(extent) for extent in buffer.shape)
    width = np.dtype(str(buffer.dtype)).itemsize
    return T.decl_buffer((size * width * 8 // _WORD,), "uint32", data=buffer.data)
