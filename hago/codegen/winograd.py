"""Winograd's F(2x2, 3x3): 2x2 outputs of a 3x3 convolution from 4x4 inputs by 16 multiplications.

    y = A' [ sum_i (G w_i G') (B' x_i B) ] A

Direct sums take 36 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv
1509.09308, equations 8 to 12). Integers stay exact: the elements of 2G are integers, sums are then
four times the convolution's, and transformed bytes fit int16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.workload import PROVEN, Array

Expr: TypeAlias = tir.Expr
Square = list[list[Expr]]  # vectors by row and column

OUTPUTS, INPUTS = 2, 4  # rows, and as many columns
POINTS = INPUTS * INPUTS
_TWICE_G = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]])
_SCALE = 4  # of sums, from two factors of 2G
_LARGEST = {"int4": 8, "int8_pairs": 127, "int8": 128, "uint8": 255}


def transform_weight(weight: Array, dtype: str) -> Array:
    """``G w G'`` of OHWI weights [co, 3, 3, ci] as [1, co, 16, ci]; of integers four times that."""
    is_integer = np.dtype(dtype).kind == "i"
    wide = np.int32 if is_integer else np.float64
    g: Array = _TWICE_G if is_integer else _TWICE_G / 2
    transformed: Array = np.einsum("py,oyxi,qx->opqi", g, weight.astype(wide), g)
    return transformed.reshape(1, len(weight), POINTS, -1).astype(dtype)


def transform_input(x: Square) -> Square:
    """``B' x B`` of 4x4 vectors."""
    return _along_both(x, _input)


def transform_output(sums: Square, dtype: str) -> Square:
    """``A' sums A``: 2x2 vectors of 4x4, without the factor that integers have."""
    outputs = _along_both(sums, _output)
    if dtype != "int32":
        return outputs
    shift = _SCALE.bit_length() - 1
    return [[T.Bind(y >> v.splat(shift, y, "int32")) for y in row] for row in outputs]


def stays_exact(data: str, weight: str, channels: int) -> bool:
    """Whether no sum on the way overflows int32: transformed inputs are at most 4 times, weights
    9 times as large as before, and two sums of ``channels`` products are added before the next is
    subtracted."""
    if data not in _LARGEST:
        return weight not in PROVEN
    product = 4 * _LARGEST[data] * 9 * _LARGEST[weight]
    return bool(2 * channels * product < np.iinfo("int32").max)


def _along_both(square: Square, function: Callable[[list[Expr]], list[Expr]]) -> Square:
    """``function`` of each column, then of each row of the results."""
    columns = [function(list(column)) for column in zip(*square, strict=True)]
    return [function(list(row)) for row in zip(*columns, strict=True)]


def _input(x: list[Expr]) -> list[Expr]:
    """B' times four."""
    return [T.Bind(e) for e in (x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3])]


def _output(s: list[Expr]) -> list[Expr]:
    """A' times four."""
    return [T.Bind(s[0] + s[1] + s[2]), T.Bind(s[1] - s[2] - s[3])]
