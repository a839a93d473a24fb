"""Codes in 32-bit lanes become bytes: vectors are packed together, and packing saturates.

VPACKSSDW and VPACKUSWB (or VPACKSSWB) take two registers each and saturate to the bounds of the
narrow type, so four vectors leave with four shuffles and without clipping. VPMOVDB needs two
shuffles for each, and clips before them. Arm's SQXTN and SQXTUN narrow a register to half of one,
saturating, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tvm import tirx as tir

from hago.codegen.vector import bind, dtype_of, splat

Expr: TypeAlias = tir.Expr
MOST = 4  # vectors that are packed together
_NEON = 4  # lanes
_WORD = 4  # bytes
_NARROWING = {"int8": "sqxtn", "uint8": "sqxtun"}
# Instruction set by lanes, then the packs to 16 bits and to bytes of either sign.
_PACKS = {
    16: ("avx512.packssdw.512", {"uint8": "avx512.packuswb.512", "int8": "avx512.packsswb.512"}),
    8: ("avx2.packssdw", {"uint8": "avx2.packuswb", "int8": "avx2.packsswb"}),
}


def narrow(codes: Sequence[Expr], zero_point: int, dtype: str, lanes: int) -> Expr:
    """``clip(codes + zero_point)`` as bytes: ``len(codes)`` (2 to 4) vectors of int32, in order.

    The zero point is added in 16 bits, saturating; it is a code of ``dtype``.
    """
    if lanes == _NEON:
        return _narrowed_by_halves(codes, zero_point, dtype)
    to_words, to_bytes = _PACKS[lanes]
    padded = [*codes, *[codes[-1]] * (MOST - len(codes))]
    words = [
        _shifted(_pack(to_words, f"int16x{lanes * 2}", *padded[i : i + 2]), zero_point)
        for i in range(0, len(codes), 2)
    ]
    packed = _pack(to_bytes[dtype], f"{dtype}x{lanes * 4}", words[0], words[-1])
    # Packing stays inside of 128 bits: dword ``l * MOST + v`` holds lanes 4l.. of vector v.
    vectors = range(len(codes))
    order = [lane * MOST + vector for vector in vectors for lane in range(lanes // 4)]
    dwords = tir.Shuffle([tir.reinterpret(f"int32x{lanes}", packed)], order)
    return bind(tir.reinterpret(f"{dtype}x{lanes * len(codes)}", dwords))


def lanes_of(packed: Expr, first: int, count: int) -> Expr:
    """``count`` lanes of a vector of bytes from ``first``."""
    dtype, lanes = dtype_of(packed)
    if lanes == count:
        return packed
    if count == _WORD and lanes % _WORD == 0:  # LLVM takes a vector of four bytes apart
        words = tir.reinterpret(f"int32x{lanes // _WORD}", packed)
        return tir.reinterpret(f"{dtype}x{count}", tir.Shuffle([words], [first // _WORD]))
    return tir.Shuffle([packed], list(range(first, first + count)))


def _narrowed_by_halves(codes: Sequence[Expr], zero_point: int, dtype: str) -> Expr:
    """Vectors of four, narrowed and joined two by two, zero point and all."""
    words = [_halved("sqxtn", code, "int16", _NEON) for code in codes]
    pairs = [
        _shifted(_joined(words[i : i + 2], _NEON), zero_point) for i in range(0, len(words) - 1, 2)
    ]
    halves = [_halved(_NARROWING[dtype], pair, dtype, 2 * _NEON) for pair in pairs]
    if len(words) % 2 == 0:
        return halves[0] if len(halves) == 1 else bind(_joined(halves, 2 * _NEON))
    last = _shifted(_joined([words[-1], words[-1]], _NEON), zero_point)
    halves.append(_halved(_NARROWING[dtype], last, dtype, 2 * _NEON))
    return bind(tir.Shuffle([bind(_joined(halves, 2 * _NEON))], list(range(_NEON * len(words)))))


def _halved(name: str, value: Expr, dtype: str, lanes: int) -> Expr:
    bits = {"int16": 16}.get(dtype, 8)
    full = f"llvm.aarch64.neon.{name}.v{lanes}i{bits}"
    return bind(tir.call_llvm_pure_intrin(f"{dtype}x{lanes}", full, value))


def _joined(parts: Sequence[Expr], lanes: int) -> Expr:
    return bind(tir.Shuffle(list(parts), list(range(lanes * len(parts)))))


def _pack(name: str, dtype: str, left: Expr, right: Expr) -> Expr:
    return bind(tir.call_llvm_pure_intrin(dtype, f"llvm.x86.{name}", left, right))


def _shifted(words: Expr, zero_point: int) -> Expr:
    if zero_point == 0:
        return words
    dtype = str(words.ty).strip('"')
    lanes = dtype.partition("x")[2]
    offset = splat(zero_point, words, "int16")
    return bind(tir.call_llvm_pure_intrin(dtype, f"llvm.sadd.sat.v{lanes}i16", words, offset))
