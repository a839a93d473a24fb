"""Fake quantization by run-time numbers: one stage for each way of rounding.

An edge that may be rounded in several ways gets all of their stages, one after the other. Each
stage has numbers that change nothing, for the edges that do not use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import relax

from hago.float8 import FORMATS
from hago.realize.qdq import round_to_mantissa
from hago.scheme import QuantScheme, TensorQuant

Emit = Callable[[relax.BlockBuilder, relax.Expr, Sequence[relax.Expr]], relax.Expr]


@dataclass(frozen=True)
class Stage:
    """A rounding whose ``numbers`` are float32 arguments; ``unchanged`` are those of identity.

    ``emit(builder, real, numbers)`` gives the rounded value, ``numbers_of`` the arguments of a
    quantization.
    """

    numbers: tuple[str, ...]
    unchanged: tuple[float, ...]
    emit: Emit
    numbers_of: Callable[[TensorQuant], tuple[float, ...]]


def stage_name(scheme: QuantScheme) -> str:
    """The key of :data:`STAGES` that rounds to ``scheme``."""
    return "integer" if scheme.dtype.is_integer else str(scheme.dtype)


def stage_names(schemes: Sequence[QuantScheme]) -> tuple[str, ...]:
    """The stages of an edge with these choices, in the table's order."""
    wanted = {stage_name(scheme) for scheme in schemes}
    return tuple(name for name in STAGES if name in wanted)


def argument(slot: str, stage: str, number: str) -> str:
    """The name of the parameter that holds a number."""
    return f"{slot}.{number}" if stage == "integer" else f"{slot}.{stage}.{number}"


def _integers(
    builder: relax.BlockBuilder, real: relax.Expr, numbers: Sequence[relax.Expr]
) -> relax.Expr:
    """(clip(round(x / scale) + zero_point, low, high) - zero_point) * scale."""
    scale, zero_point, low, high = numbers
    codes = builder.emit(relax.op.round(builder.emit(relax.op.divide(real, scale))))
    codes = builder.emit(relax.op.add(codes, zero_point))
    codes = builder.emit(relax.op.maximum(builder.emit(relax.op.minimum(codes, high)), low))
    return relax.op.multiply(builder.emit(relax.op.subtract(codes, zero_point)), scale)


def _integer_numbers(quant: TensorQuant) -> tuple[float, ...]:
    low, high = quant.scheme.dtype.code_range
    return float(quant.scale), float(quant.zero_point), float(low), float(high)


def _float8(kind: str) -> Emit:
    def emit(
        builder: relax.BlockBuilder, real: relax.Expr, numbers: Sequence[relax.Expr]
    ) -> relax.Expr:
        scale, mantissa, low, high = numbers
        scaled = builder.emit(relax.op.divide(real, scale))
        smallest = FORMATS[kind].min_exponent
        rounded = round_to_mantissa(builder, scaled, mantissa, smallest, low, high)
        return relax.op.multiply(builder.emit(rounded), scale)

    return emit


def _float8_numbers(quant: TensorQuant) -> tuple[float, ...]:
    form = FORMATS[quant.scheme.dtype.kind]
    return float(quant.scale), float(form.mantissa), -form.largest, form.largest


def _bfloat16(
    builder: relax.BlockBuilder, real: relax.Expr, numbers: Sequence[relax.Expr]
) -> relax.Expr:
    """x + share * (bfloat16(x) - x): exact for a share of 0 and of 1."""
    narrow = builder.emit(relax.op.astype(real, "bfloat16"))
    error = builder.emit(relax.op.subtract(builder.emit(relax.op.astype(narrow, "float32")), real))
    return relax.op.add(real, builder.emit(relax.op.multiply(error, numbers[0])))


_INFINITE = (-np.inf, np.inf)
_SCALED = ("scale", "shift", "low", "high")

STAGES: Mapping[str, Stage] = {
    # x / 2^-60 has no fraction bits left for any |x| >= 2^-37, and is off by 2^-61 at most below.
    "integer": Stage(_SCALED, (2.0**-60, 0.0, *_INFINITE), _integers, _integer_numbers),
    # A float with 30 bits of mantissa holds every float32.
    **{
        kind: Stage(_SCALED, (1.0, 30.0, *_INFINITE), _float8(kind), _float8_numbers)
        for kind in FORMATS
    },
    "bfloat16": Stage(("share",), (0.0,), _bfloat16, lambda quant: (1.0,)),
}
