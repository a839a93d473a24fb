"""Elementwise operations: the vector code each becomes, and its meaning in numpy.

A table, because epilogues, plain elementwise kernels, the numpy judge and lowering all speak of
the same operations. Every ``emit`` works on any number of lanes. Transcendental functions are
polynomials: LLVM turns a vector ``exp`` into one library call a lane. A value that is read more
than once is bound: an expression is a tree, and LLVM would get every copy of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.float8 import KINDS
from hago.scheme import BFLOAT16_ARRAY

Expr: TypeAlias = tir.Expr
Array = npt.NDArray[Any]


# A float32 of this size has no fraction: its lowest bits count integers.
_INTEGERS = 1.5 * 2**23


@dataclass(frozen=True)
class Operation:
    """``emit(*vectors, *constants)`` in TIR and ``evaluate(*arrays, *constants)`` in numpy."""

    emit: Callable[..., Expr]
    evaluate: Callable[..., Array]


def dtype_of(value: Expr) -> tuple[str, int]:
    """Scalar dtype and number of lanes of an expression."""
    dtype, _, lanes = str(value.ty).strip('"').partition("x")
    return dtype, int(lanes or 1)


def splat(value: float, like: Expr, dtype: str = "float32") -> Expr:
    """``value`` in as many lanes as ``like`` has."""
    constant = tir.const(value, dtype)
    lanes = dtype_of(like)[1]
    return tir.Broadcast(constant, lanes) if lanes > 1 else constant


def bind(value: Expr) -> Expr:
    """``value``, computed once however often it is read.

    A broadcast and a single float stay expressions: TVM's analysis of integer sets takes the
    minimum and maximum of bound ones for an integer's, and fails.
    """
    dtype, lanes = dtype_of(value)
    if isinstance(value, tir.Broadcast) or (lanes == 1 and "float" in dtype):
        return value
    return T.Bind(value)


def cast(value: Expr, dtype: str) -> Expr:
    """``value`` converted lane by lane to the scalar ``dtype``."""
    was, lanes = dtype_of(value)
    if was == dtype:
        return value
    return tir.Cast(f"{dtype}x{lanes}" if lanes > 1 else dtype, value)


def storage(dtype: str) -> str:
    """The dtype that kernels load and store: floats of 8 and 16 bits are read and written as their
    bits."""
    return "uint8" if dtype in KINDS else "uint16" if dtype == "bfloat16" else dtype


def loaded(value: Expr, dtype: str, wanted: str) -> Expr:
    """Lanes loaded from memory of ``dtype``, converted to the scalar dtype ``wanted``."""
    return from_bfloat16(value) if dtype == "bfloat16" else cast(value, wanted)


def from_bfloat16(bits: Expr) -> Expr:
    """float32 of bfloat16 ``bits`` (uint16): they are its upper half."""
    wide = cast(bits, "uint32")
    return _bits(wide << splat(16, wide, "uint32"), "float32")


def to_bfloat16(x: Expr) -> Expr:
    """The bits (uint16) of the nearest bfloat16, ties to even; NaN stays NaN.

    Half a unit in the last place is added, less one bit where the result would be even by cutting
    alone. In integers because VCVTNEPS2BF16 flushes denormals and takes two cycles.
    """
    bits = bind(_bits(x, "uint32"))
    last = tir.bitwise_and(bits >> splat(16, bits, "uint32"), splat(1, bits, "uint32"))
    rounded = (bits + splat(0x7FFF, bits, "uint32") + last) >> splat(16, bits, "uint32")
    magnitude = tir.bitwise_and(bits, splat(0x7FFFFFFF, bits, "uint32"))
    is_number = magnitude <= splat(0x7F800000, bits, "uint32")  # TVM takes x == x for true
    return cast(tir.Select(is_number, rounded, splat(0x7FC0, bits, "uint32")), "uint16")


def _bits(value: Expr, dtype: str) -> Expr:
    """The same bits read as ``dtype``."""
    lanes = dtype_of(value)[1]
    return tir.reinterpret(f"{dtype}x{lanes}" if lanes > 1 else dtype, value)


def _horner(x: Expr, coefficients: tuple[float, ...]) -> Expr:
    """Polynomial with the highest coefficient first."""
    total = splat(coefficients[0], x)
    for coefficient in coefficients[1:]:
        total = total * x + splat(coefficient, x)
    return total


def _exp(x: Expr) -> Expr:
    """exp by 2^k * e^r, |r| <= ln2/2, degree 7 (Cephes expf); relative error below 3e-7.

    Adding 1.5 * 2^23 leaves k in the lowest bits of a float32; from there it is added to the
    exponent of e^r. It is read through its bits, because TVM takes (a + b) - b for a.
    """
    x = bind(tir.max(tir.min(x, splat(88.0, x)), splat(-87.0, x)))
    shifted = x * splat(math.log2(math.e), x) + splat(_INTEGERS, x)
    lowest = bind(_bits(shifted, "int32"))
    k = bind(_bits(lowest, "float32") - splat(_INTEGERS, x))
    r = bind(x - k * splat(0.693359375, x) - k * splat(-2.12194440e-4, x))
    series = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2,
              1.6666665459e-1, 5.0000001201e-1, 1.0, 1.0)  # fmt: skip
    exponent = lowest << splat(23, x, "int32")
    return _bits(_bits(_horner(r, series), "int32") + exponent, "float32")


def reciprocal(x: Expr) -> Expr:
    """1 / x by the instruction's estimate of 12 or 14 bits and one step of Newton's method.

    Relative error below 3e-7; not for zero and infinity. A division of 16 lanes takes as long as
    twenty multiplications.
    """
    lanes = dtype_of(x)[1]
    if lanes == 16:
        mask = tir.const(0xFFFF, "uint16")
        name = "llvm.x86.avx512.rcp14.ps.512"
        estimate = tir.call_llvm_pure_intrin("float32x16", name, x, splat(0.0, x), mask)
    elif lanes == 8:
        estimate = tir.call_llvm_pure_intrin("float32x8", "llvm.x86.avx.rcp.ps.256", x)
    else:
        return splat(1.0, x) / x
    estimate = bind(estimate)
    return estimate * (splat(2.0, x) - x * estimate)


def _sigmoid(x: Expr) -> Expr:
    return reciprocal(bind(splat(1.0, x) + _exp(splat(0.0, x) - x)))


def _tanh(x: Expr) -> Expr:
    return splat(2.0, x) * _sigmoid(bind(x + x)) - splat(1.0, x)


def _erf(x: Expr) -> Expr:
    """erf, which is 1 in float32 beyond 3.75; absolute error below 6e-7."""
    numerator = (2.8419385553551626e-4, 7.75182305497153e-3, 6.455318424694001e-2,
                 2.9504647087921687e-1, 1.1283778726826053)  # fmt: skip
    denominator = (1.698647920946121e-5, 1.9660671726725184e-3, 2.295276202854435e-2,
                   1.555282810978378e-1, 5.947967098164271e-1, 1.0)  # fmt: skip
    return _odd_ratio(x, 3.75, numerator, denominator)


def _odd_ratio(
    x: Expr, limit: float, numerator: tuple[float, ...], denominator: tuple[float, ...]
) -> Expr:
    """x P(x^2) / Q(x^2), fitted for the least absolute error on -limit..limit, beyond which it
    stays as it is."""
    x = bind(_clip(x, -limit, limit))
    square = bind(x * x)
    quotient = reciprocal(bind(_horner(square, denominator)))
    return x * _horner(square, numerator) * quotient


def _gelu(x: Expr) -> Expr:
    half = bind(splat(0.5, x) * x)
    return half + half * _erf(x * splat(math.sqrt(0.5), x))


def _gelu_tanh(x: Expr) -> Expr:
    """With tanh(sqrt(2 / pi) (x + 0.044715 x^3)) as one function, which is 1 beyond 4.85; its
    absolute error is below 6e-7."""
    numerator = (8.80496771170254e-6, 3.02233105543071e-4, 7.172870170030144e-3,
                 7.034159641934229e-2, 7.978842511139909e-1)  # fmt: skip
    denominator = (4.38769412544562e-7, 6.872790376574712e-5, 1.3492914465607201e-3,
                   2.6241541500841604e-2, 2.556493530370496e-1, 1.0)  # fmt: skip
    half = bind(splat(0.5, x) * x)
    return half + half * _odd_ratio(x, 4.85, numerator, denominator)


def _gelu_tanh_numpy(x: Array) -> Array:
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.asarray(np.float32(0.5) * x * (1 + np.tanh(inner)))


def _clip(x: Expr, low: float, high: float) -> Expr:
    return tir.max(tir.min(x, splat(high, x)), splat(low, x))


def _quantize(x: Expr, scale: float, zero_point: float, low: float, high: float) -> Expr:
    """Codes still as float32: rounded half to even, shifted, saturated. ``x * (1 / scale)``:
    a division is several times as slow and differs only within float rounding of a tie."""
    reciprocal = float(np.float32(1.0) / np.float32(scale))
    return _clip(
        tir.nearbyint(x * splat(reciprocal, x)) + splat(zero_point, x), low, high
    )


def _quantize_numpy(
    x: Array, scale: float, zero_point: float, low: float, high: float
) -> Array:
    reciprocal = np.float32(1.0) / np.float32(scale)
    codes = np.rint(x.astype(np.float32) * reciprocal) + np.float32(zero_point)
    return np.clip(codes, np.float32(low), np.float32(high))


def round_codes(x: Expr, scale: float, low: float, high: float) -> Expr:
    """int32 codes without their zero point, rounded half to even by the conversion.

    Bounds (without the zero point, too; ``low`` may be -inf) come before the rounding, which keeps
    them: codes are monotonic in x and the bounds are integers.
    """
    reciprocal = float(np.float32(1.0) / np.float32(scale))
    bounded = x * splat(reciprocal, x)
    bounded = tir.min(bounded, splat(high, x))
    if low > -math.inf:
        bounded = tir.max(bounded, splat(low, x))
    lanes = dtype_of(x)[1]
    integer = f"int32x{lanes}" if lanes > 1 else "int32"
    return tir.call_llvm_pure_intrin(integer, "llvm.lrint", bounded)


def _quantize_narrow(dtype: str) -> Callable[..., Expr]:
    """Codes in ``dtype``: as :func:`_quantize`, but rounded by the conversion to int32."""

    def emit(x: Expr, scale: float, zero_point: float, low: float, high: float) -> Expr:
        codes = round_codes(x, scale, low - zero_point, high - zero_point)
        return cast(codes + splat(int(zero_point), x, "int32"), dtype)

    return emit


def _fake_quantize(x: Expr, scale: Expr, zero_point: Expr, low: Expr, high: Expr) -> Expr:
    codes = tir.nearbyint(x / scale) + zero_point
    return (tir.max(tir.min(codes, high), low) - zero_point) * scale


def _fake_quantize_numpy(
    x: Array, scale: Array, zero_point: Array, low: Array, high: Array
) -> Array:
    codes = np.clip(np.rint(x / scale) + zero_point, low, high)
    return (codes - zero_point) * scale


def _float_numpy(function: Callable[..., Array]) -> Callable[..., Array]:
    """``function`` on float32 arrays, constants as float32 too, as the vector code computes."""
    return lambda *args: np.asarray(function(*(np.float32(a) for a in args)), np.float32)


def _row(emit: Callable[..., Expr], evaluate: Callable[..., Array]) -> Operation:
    return Operation(emit, _float_numpy(evaluate))


def _with_const(emit: Callable[[Expr, Expr], Expr]) -> Callable[[Expr, float], Expr]:
    return lambda x, value: emit(x, splat(value, x))


OPERATIONS: dict[str, Operation] = {
    "float": Operation(lambda x: cast(x, "float32"), lambda x: x.astype(np.float32)),
    "int32": Operation(lambda x: cast(x, "int32"), lambda x: x.astype(np.int32)),
    "uint8": Operation(
        lambda x: cast(cast(x, "int32"), "uint8"), lambda x: x.astype(np.int32).astype(np.uint8)
    ),
    "int8": Operation(
        lambda x: cast(cast(x, "int32"), "int8"), lambda x: x.astype(np.int32).astype(np.int8)
    ),
    "bfloat16": Operation(to_bfloat16, lambda x: x.astype(BFLOAT16_ARRAY)),
    "from_bfloat16": Operation(from_bfloat16, lambda x: x.astype(np.float32)),
    "add_int32": Operation(lambda a, b: a + b, np.add),
    "subtract_int32": Operation(lambda a, b: a - b, np.subtract),
    "multiply_int32": Operation(lambda a, b: a * b, np.multiply),
    "add": _row(lambda a, b: a + b, np.add),
    "subtract": _row(lambda a, b: a - b, np.subtract),
    "multiply": _row(lambda a, b: a * b, np.multiply),
    "divide": _row(lambda a, b: a / b, np.divide),
    "maximum": _row(tir.max, np.maximum),
    "minimum": _row(tir.min, np.minimum),
    "add_const": _row(_with_const(lambda a, b: a + b), np.add),
    "multiply_const": _row(_with_const(lambda a, b: a * b), np.multiply),
    "divide_const": _row(_with_const(lambda a, b: a / b), np.divide),
    "negative": _row(lambda x: splat(0.0, x) - x, np.negative),
    "relu": _row(lambda x: tir.max(x, splat(0.0, x)), lambda x: np.maximum(x, 0)),
    "clip": _row(_clip, np.clip),
    "round": _row(tir.nearbyint, np.rint),
    "exp": _row(_exp, np.exp),
    "sqrt": _row(tir.sqrt, np.sqrt),
    "sigmoid": _row(_sigmoid, special.expit),
    "tanh": _row(_tanh, np.tanh),
    "erf": _row(_erf, special.erf),
    "gelu": _row(_gelu, lambda x: 0.5 * x * (1 + special.erf(x * np.float32(math.sqrt(0.5))))),
    "gelu_tanh": _row(_gelu_tanh, _gelu_tanh_numpy),
    "silu": _row(lambda x: x * _sigmoid(x), lambda x: x * special.expit(x)),
    "quantize": Operation(_quantize, _quantize_numpy),
    "quantize_uint8": Operation(
        _quantize_narrow("uint8"), lambda *args: _quantize_numpy(*args).astype(np.uint8)
    ),
    "quantize_int8": Operation(
        _quantize_narrow("int8"), lambda *args: _quantize_numpy(*args).astype(np.int8)
    ),
    "fake_quantize": Operation(_fake_quantize, _fake_quantize_numpy),
}
