"""Tensors as codes: what is known of a value while dequantize moves down past it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tvm import relax

from hago.dataflow import tensor_type
from hago.scheme import Floats

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Codes:
    """A tensor as ``scale * (expr - zero_point)``; arrays are ``()``, or ``(n,)`` on ``axis``.

    A constant ``expr`` [k, n] of weights in groups of rows has ``scale`` [groups, n].

    Floats have zero point 0, bfloat16 scale 1. What a rule returns may also be float32: the sums of
    products of floats.
    """

    expr: relax.Expr
    scale: Floats
    zero_point: Ints
    axis: int = -1

    @property
    def is_per_tensor(self) -> bool:
        return self.scale.shape == () and self.zero_point.shape == ()

    @property
    def dtype(self) -> str:
        return tensor_type(self.expr)[1]

    @property
    def is_integer(self) -> bool:
        return "int" in self.dtype

    @property
    def sum_dtype(self) -> str:
        """Where products with this tensor are summed."""
        return "int32" if self.is_integer else "float32"

    def same_numbers(self, other: Codes) -> bool:
        return (
            np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
            and self.dtype == other.dtype
        )
