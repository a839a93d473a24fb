"""Winograd's F(m x m, 3x3): m x m outputs of a 3x3 convolution by (m + 2)^2 multiplications, where
direct sums take 9 m^2.

    y = A' [ sum_i (G w_i G') (B' x_i B) ] A

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, equations 8
to 12. Integers stay exact: ``factor`` times G has integers alone, so that sums are factor^2 times
the convolution's. They may wrap modulo 2^32 on the way: the odd part of factor^2 has an inverse
there, and only its even part takes bits from the result.

F(4x4) evaluates polynomials at 0, 2, 1, -1, -1/2 and infinity, in place of 0, 1, -1, 2, -2 and
infinity. No residue modulo 2 has more than two of these (which keeps the even part of factor^2 at
4, where it would be 64), B' times B fits words of 16 bits for any bytes, and A has nothing but
powers of two because 15 and 5 moved into G.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.workload import PROVEN, Array
from hago.codegen.wrapping import add, subtract, times

Expr: TypeAlias = tir.Expr
Line = list[Expr]  # vectors along one axis
Square = list[Line]
Matrix = tuple[tuple[int, ...], ...]

_RANGES = {"int4": (-8, 7), "int8_pairs": (-127, 127), "int8": (-128, 127), "uint8": (0, 255)}
_WORD = int(np.iinfo("int16").max)


@dataclass(frozen=True)
class Transform:
    """F(outputs x outputs, 3x3).

    ``b`` is B' [inputs, inputs] and ``g`` is ``factor`` times G [inputs, 3]; ``reads`` and
    ``gives`` are the vector code of B' and of A'.
    """

    outputs: int
    b: Matrix
    g: Matrix
    factor: int
    reads: Callable[[Line], Line]
    gives: Callable[[Line], Line]

    def __str__(self) -> str:
        return f"F({self.outputs}x{self.outputs}, 3x3)"

    @property
    def inputs(self) -> int:
        """Rows of inputs of a square, and as many columns."""
        return self.outputs + 2

    @property
    def points(self) -> int:
        """Multiplications of a square."""
        return self.inputs**2

    def of_weight(self, weight: Array, dtype: str) -> Array:
        """``G w G'`` of OHWI weights [co, 3, 3, ci] as [1, co, points, ci]; of integers
        factor^2 times that."""
        g: Array = np.array(self.g, np.int32)
        if np.dtype(dtype).kind != "i":
            g = g / self.factor
        transformed: Array = np.einsum("py,oyxi,qx->opqi", g, weight.astype(g.dtype), g)
        return transformed.reshape(1, len(weight), self.points, -1).astype(dtype)

    def of_input(self, x: Square) -> Square:
        """``B' x B`` of inputs x inputs vectors."""
        return _along_both(x, self.reads)

    def of_sums(self, sums: Square) -> Square:
        """``A' sums A``: outputs x outputs vectors, without the factor that integers have."""
        outputs = _along_both(sums, self.gives)
        if v.dtype_of(outputs[0][0])[0] != "int32":
            return outputs
        return [[T.Bind(self._divided(y)) for y in row] for row in outputs]

    def _divided(self, sums: Expr) -> Expr:
        """``sums`` modulo 2^32 over factor^2, which divides them."""
        even = self._even
        inverse = pow(self.factor**2 // even, -1, 2**32)
        quotient = sums if inverse == 1 else times(sums, inverse)
        return quotient >> v.splat(even.bit_length() - 1, sums, "int32")

    @property
    def _even(self) -> int:
        """The largest power of two in factor^2."""
        scale = self.factor**2
        return scale & -scale

    def stays_exact(self, data: str, weight: str, channels: int) -> bool:
        """Whether transformed operands fit words of 16 bits, and a sum over ``channels`` keeps all
        of its bits."""
        if data not in _RANGES:
            return weight not in PROVEN
        largest = max(map(abs, _RANGES[data])) * max(map(abs, _RANGES[weight]))
        fits = max(_reach(self.b, *_RANGES[data]), _reach(self.g, *_RANGES[weight])) <= _WORD
        return fits and self._even * 9 * channels * largest < np.iinfo("int32").max


def _reach(matrix: Matrix, low: int, high: int) -> int:
    """The largest magnitude that ``matrix`` makes of elements from low to high, on both axes."""
    both = np.kron(matrix, matrix)
    positive, negative = np.maximum(both, 0).sum(1), np.maximum(-both, 0).sum(1)
    ends = (positive * high - negative * low, negative * high - positive * low)
    return int(np.max(ends))


def _along_both(square: Square, function: Callable[[Line], Line]) -> Square:
    """``function`` of each column, then of each row of the results."""
    columns = [function(list(column)) for column in zip(*square, strict=True)]
    return [function(list(row)) for row in zip(*columns, strict=True)]


def _reads_two(x: Line) -> Line:
    return [T.Bind(e) for e in (x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3])]


def _gives_two(s: Line) -> Line:
    first, second = add(add(s[0], s[1]), s[2]), subtract(subtract(s[1], s[2]), s[3])
    return [T.Bind(first), T.Bind(second)]


def _reads_four(x: Line) -> Line:
    a, b = T.Bind(x[1] - x[3]), T.Bind(x[2] - x[4])
    a2, b2 = T.Bind(a + a), T.Bind(b + b)
    first, last = T.Bind(x[0] - x[2]), T.Bind(x[5] - x[3])
    even, odd = T.Bind(x[2] + x[3]), T.Bind(x[2] - x[3])
    return [
        T.Bind(e)
        for e in (
            (first + first) + ((a2 + a) - b2),
            a + b2,
            (a2 + b2) + (even + even + even),
            (a2 - b2) + (odd + odd + odd),
            a2 - b,
            (last + last) + (a2 + (b2 + b)),
        )
    ]


def _gives_four(s: Line) -> Line:
    """Outputs from the points 0, 2, 1, -1, -1/2 and infinity."""
    zero, two, one, minus, half, last = s
    even, odd = T.Bind(add(one, minus)), T.Bind(subtract(one, minus))
    return [
        T.Bind(e)
        for e in (
            add(add(zero, two), add(even, times(half, 8))),
            add(times(subtract(two, times(half, 2)), 2), odd),
            add(times(add(times(two, 2), half), 2), even),
            add(subtract(times(two, 8), half), add(odd, last)),
        )
    ]


TWO = Transform(
    outputs=2,
    b=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    g=((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2)),
    factor=2,
    reads=_reads_two,
    gives=_gives_two,
)
FOUR = Transform(
    outputs=4,
    b=(
        (2, 3, -4, -3, 2, 0),
        (0, 1, 2, -1, -2, 0),
        (0, 2, 5, 1, -2, 0),
        (0, 2, 1, -5, 2, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 2, 3, -4, -3, 2),
    ),
    g=((15, 0, 0), (-1, -2, -4), (5, 5, 5), (5, -5, 5), (-4, 2, -1), (0, 0, 15)),
    factor=30,
    reads=_reads_four,
    gives=_gives_four,
)
