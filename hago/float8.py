"""Eight-bit floats: exact conversion between float32 and codes.

OCP 8-bit Floating Point Specification (OFP8): E4M3 has no infinities, its largest value is 448
and S.1111.111 is NaN; E5M2 is IEEE-like with a largest finite value of 57344. Encoding rounds to
nearest, ties to even, and saturates; NaN stays NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Float8:
    """A format: bits of the mantissa, smallest exponent of a normal number, largest value."""

    mantissa: int
    min_exponent: int
    largest: float
    nan: int


FORMATS = {
    "float8_e4m3": Float8(mantissa=3, min_exponent=-6, largest=448.0, nan=0x7F),
    "float8_e5m2": Float8(mantissa=2, min_exponent=-14, largest=57344.0, nan=0x7E),
}

# TVM's and numpy's names of the formats in memory, and back.
MEMORY = {"float8_e4m3": "float8_e4m3fn", "float8_e5m2": "float8_e5m2"}
KINDS = {name: kind for kind, name in MEMORY.items()}


def decode_float8(codes: Codes, kind: str) -> Floats:
    """The float32 value of each code (uint8, any shape); exact."""
    return _values(kind)[np.asarray(codes, np.uint8)]


def encode_float8(real: Floats, kind: str) -> Codes:
    """The nearest code of each float32 (any shape), ties to even, saturating at the largest."""
    form = FORMATS[kind]
    positive = _values(kind)[: form.nan]
    finite = positive[positive <= form.largest]
    magnitude = np.minimum(np.abs(real.astype(np.float64)), form.largest)
    above = np.clip(np.searchsorted(finite, magnitude, side="left"), 1, len(finite) - 1)
    below = above - 1
    middle = (finite[below].astype(np.float64) + finite[above]) / 2
    tie_up = (magnitude == middle) & (above % 2 == 0)  # an even code has an even mantissa
    codes = np.where((magnitude > middle) | tie_up, above, below)
    codes = np.where(np.isnan(real), form.nan, codes)
    return (codes | np.where(np.signbit(real), 0x80, 0)).astype(np.uint8)


def round_float8(real: Floats | npt.NDArray[np.float64], kind: str) -> Floats:
    """The nearest value of the format to each number (any shape), as :func:`encode_float8`."""
    form = FORMATS[kind]
    wide = np.clip(np.asarray(real, np.float64), -form.largest, form.largest)
    _, exponent = np.frexp(wide)
    unit = np.ldexp(1.0, np.maximum(exponent - 1, form.min_exponent) - form.mantissa)
    return (np.rint(wide / unit) * unit).astype(np.float32)


@cache
def _values(kind: str) -> Floats:
    """All 256 values by code."""
    form = FORMATS[kind]
    code = np.arange(256)
    sign = np.where(code & 0x80, -1.0, 1.0)
    exponent = (code & 0x7F) >> form.mantissa
    fraction = (code & ((1 << form.mantissa) - 1)) / (1 << form.mantissa)
    normal = np.ldexp(1.0 + fraction, exponent + form.min_exponent - 1)
    subnormal = np.ldexp(fraction, form.min_exponent)
    values = sign * np.where(exponent > 0, normal, subnormal)
    special = (code & 0x7F) >= form.nan if kind == "float8_e4m3" else exponent == 31
    values[special] = np.nan
    if kind == "float8_e5m2":
        values[[0x7C, 0xFC]] = [np.inf, -np.inf]
    found = values.astype(np.float32)
    found.flags.writeable = False
    return found
