"""8-bit floats: rounding to them in vectors of float32, and the codes that GPUs keep in memory.

TVM's casts to these types are wrong on CPUs (no subnormal numbers, no saturation), so they are done
in integers. What a CPU plays keeps values as float32 in memory, too (hago.realize.float8_values).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from tvm import tirx as tir

from hago.codegen import vector as v
from hago.float8 import FORMATS, KINDS, decode_float8, encode_float8
from hago.float8 import round_float8 as round_numpy

Expr: TypeAlias = tir.Expr


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


def to_float8(x: Expr, kind: str) -> Expr:
    """The codes (uint8) of the nearest values, ties to even, saturating; NaN stays NaN.

    Divided by the ratio of both smallest normal numbers, a value has the exponent that its code
    has: the code is what is above the bits that were rounded away.
    """
    form = FORMATS[kind]
    x = v.bind(x)
    bits = v.bind(_bits(x, "uint32"))

    def word(value: int) -> Expr:
        return v.splat(value, bits, "uint32")

    bounded = tir.max(tir.min(x, v.splat(form.largest, x)), v.splat(-form.largest, x))
    moved = round_float8(v.bind(bounded), kind) * v.splat(1 / _ratio(kind), x)
    magnitude = tir.bitwise_and(_bits(moved, "uint32") >> word(23 - form.mantissa), word(0x7F))
    is_number = tir.bitwise_and(bits, word(2**31 - 1)) <= word(0x7F800000)
    sign = tir.bitwise_and(bits >> word(24), word(0x80))
    code = tir.bitwise_or(tir.Select(is_number, magnitude, word(form.nan)), sign)
    return v.cast(code, "uint8")


def from_float8(codes: Expr, kind: str) -> Expr:
    """float32 of ``codes`` (uint8); E5M2's infinities are NaN, for no encoding gives them."""
    form = FORMATS[kind]
    wide = v.bind(v.cast(codes, "uint32"))

    def word(value: int) -> Expr:
        return v.splat(value, wide, "uint32")

    code = v.bind(tir.bitwise_and(wide, word(0x7F)))
    value = _bits(code << word(23 - form.mantissa), "float32")
    sized = _bits(value * v.splat(_ratio(kind), value), "uint32")
    sign = tir.bitwise_and(wide, word(0x80)) << word(24)
    finite = int(np.isfinite(decode_float8(np.arange(128, dtype=np.uint8), kind)).sum())
    size = tir.Select(code < word(finite), sized, word(0x7FC00000))
    return _bits(tir.bitwise_or(size, sign), "float32")


def _ratio(kind: str) -> float:
    """The smallest normal number of the format by that of float32."""
    return float(2.0 ** (FORMATS[kind].min_exponent + 126))


def _encoding(name: str, kind: str) -> v.Operation:
    return v.Operation(lambda x: to_float8(x, kind), lambda x: encode_float8(x, kind).view(name))


def _decoding(kind: str) -> v.Operation:
    return v.Operation(
        lambda x: from_float8(x, kind), lambda x: decode_float8(x.view(np.uint8), kind)
    )


ROUNDINGS = {name: _operation(kind) for name, kind in KINDS.items()}
CODES = {
    **{f"encode_{name}": _encoding(name, kind) for name, kind in KINDS.items()},
    **{f"decode_{name}": _decoding(kind) for name, kind in KINDS.items()},
}
