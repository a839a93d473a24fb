"""Rounding to 8-bit floats in vectors of float32.

TVM's casts to these types are wrong on CPUs (no subnormal numbers, no saturation), so their values
stay float32 in registers and in memory.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from tvm import tirx as tir

from hago.codegen import vector as v
from hago.float8 import FORMATS
from hago.float8 import round_float8 as round_numpy

Expr: TypeAlias = tir.Expr
FLOAT8 = {"float8_e4m3fn": "float8_e4m3", "float8_e5m2": "float8_e5m2"}  # from TVM's names


def round_float8(x: Expr, kind: str) -> Expr:
    """The nearest value of the format, ties to even, as float32; ``x`` is within its range.

    Of a normal number the bits behind the mantissa are rounded away: half a unit is added, less one
    bit where the result would be even by cutting alone. Smaller ones are multiples of the smallest.
    """
    form = FORMATS[kind]
    drop, unit = 23 - form.mantissa, 2.0 ** (form.min_exponent - form.mantissa)
    bits = v.bind(_bits(x, "uint32"))

    def word(value: int) -> Expr:
        return v.splat(value, bits, "uint32")

    last = tir.bitwise_and(bits >> word(drop), word(1))
    carried = bits + word(2 ** (drop - 1) - 1) + last
    normal = _bits(tir.bitwise_and(carried, word(2**32 - 2**drop)), "float32")
    small = tir.nearbyint(x * v.splat(1 / unit, x)) * v.splat(unit, x)
    smallest = int(np.float32(2.0**form.min_exponent).view(np.uint32))
    is_normal = tir.bitwise_and(bits, word(2**31 - 1)) >= word(smallest)
    return tir.Select(is_normal, normal, small)


def _bits(value: Expr, dtype: str) -> Expr:
    """The same bits read as ``dtype``."""
    return tir.reinterpret(f"{dtype}x{v.dtype_of(value)[1]}".removesuffix("x1"), value)


def _operation(kind: str) -> v.Operation:
    return v.Operation(
        lambda x: round_float8(v.bind(x), kind), lambda x: round_numpy(x, kind)
    )


ROUNDINGS = {name: _operation(kind) for name, kind in FLOAT8.items()}
