"""Integer arithmetic of epilogues: requantization without floating point.

``*_int64`` compute as the realized module says (hago/realize/fixed_point.py), on any machine. What
is named after an instruction is Arm's of that name, on 32 bits (Arm A-profile ARM, C7.2 SQRDMULH,
SRSHL, SQSHL): hago/lower/fixed_point.py puts it in place of the former where that is the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import tirx as tir

from hago.codegen.vector import Array, Expr, Operation, bind, cast, dtype_of, splat

_LANES = (4, 2)  # 32-bit lanes of a whole register and of its lower half


def _clip(x: Expr, low: float, high: float) -> Expr:
    dtype = dtype_of(x)[0]
    return tir.max(tir.min(x, splat(int(high), x, dtype)), splat(int(low), x, dtype))


def _clip_numpy(x: Array, low: float, high: float) -> Array:
    return np.clip(x, x.dtype.type(low), x.dtype.type(high))


def _saturate(dtype: str) -> Callable[..., Expr]:
    """``clip(x + zero_point, low, high)`` in the narrow ``dtype``."""

    def emit(x: Expr, zero_point: float, low: float, high: float) -> Expr:
        return cast(_clip(x + splat(int(zero_point), x, "int32"), low, high), dtype)

    return emit


def _saturate_numpy(dtype: str) -> Callable[..., Array]:
    def evaluate(x: Array, zero_point: float, low: float, high: float) -> Array:
        return np.clip(x.astype(np.int64) + int(zero_point), int(low), int(high)).astype(dtype)

    return evaluate


def _instruction(name: str) -> Callable[..., Expr]:
    """An Advanced SIMD instruction on two vectors of int32: on one register after the other. A
    single number takes two lanes."""

    def emit(*args: Expr) -> Expr:
        lanes = dtype_of(args[0])[1]
        if lanes == 1:
            spread = (bind(tir.Broadcast(arg, 2)) for arg in args)
            return tir.Shuffle([bind(emit(*spread))], [0])
        if lanes > max(_LANES):
            halves = [range(0, lanes // 2), range(lanes // 2, lanes)]
            parts = [
                bind(emit(*(bind(tir.Shuffle([arg], list(half))) for arg in args)))
                for half in halves
            ]
            return tir.Shuffle(parts, list(range(lanes)))
        return tir.call_llvm_pure_intrin(
            f"int32x{lanes}", f"llvm.aarch64.neon.{name}.v{lanes}i32", *args
        )

    return emit


def _in_int32(exact: Array) -> Array:
    return np.clip(exact, -(2**31), 2**31 - 1).astype(np.int32)


def _sqrdmulh(x: Array, multiplier: Array) -> Array:
    return _in_int32((x.astype(np.int64) * multiplier + (1 << 30)) >> 31)


def _srshl(x: Array, shift: Array) -> Array:
    """``x / 2^-shift`` rounded upwards from the middle; ``shift`` is -32 to 0."""
    bits = -np.asarray(shift, np.int64)
    half = np.where(bits > 0, np.int64(1) << np.maximum(bits - 1, 0), 0)
    return ((x.astype(np.int64) + half) >> bits).astype(np.int32)


def _sqshl(x: Array, shift: Array) -> Array:
    return _in_int32(x.astype(np.int64) << np.asarray(shift, np.int64))


# The two values that each takes are of the same dtype.
INTEGER: dict[str, Operation] = {
    "int64": Operation(lambda x: cast(x, "int64"), lambda x: x.astype(np.int64)),
    "add_int64": Operation(lambda a, b: a + b, np.add),
    "subtract_int64": Operation(lambda a, b: a - b, np.subtract),
    "multiply_int64": Operation(lambda a, b: a * b, np.multiply),
    "shift_right_int64": Operation(lambda a, b: a >> b, np.right_shift),
    "clip_int64": Operation(_clip, _clip_numpy),
    "clip_int32": Operation(_clip, _clip_numpy),
    "saturate_int8": Operation(_saturate("int8"), _saturate_numpy("int8")),
    "saturate_uint8": Operation(_saturate("uint8"), _saturate_numpy("uint8")),
    "sqrdmulh": Operation(_instruction("sqrdmulh"), _sqrdmulh),
    "srshl": Operation(_instruction("srshl"), _srshl),
    "sqshl": Operation(_instruction("sqshl"), _sqshl),
}
