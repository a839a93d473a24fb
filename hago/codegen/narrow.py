"""Codes in 32-bit lanes become bytes: vectors are packed together, and packing saturates.

VPACKSSDW and VPACKUSWB (or VPACKSSWB) take two registers each and saturate to the bounds of the
narrow type, so four vectors leave with four shuffles and without clipping. VPMOVDB needs two
shuffles for each, and clips before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tvm import tirx as tir

from hago.codegen.vector import bind, splat

Expr: TypeAlias = tir.Expr
MOST = 4  # vectors that are packed together
# Instruction set by lanes, then the packs to 16 bits and to bytes of either sign.
_PACKS = {
    16: ("avx512.packssdw.512", {"uint8": "avx512.packuswb.512", "int8": "avx512.packsswb.512"}),
    8: ("avx2.packssdw", {"uint8": "avx2.packuswb", "int8": "avx2.packsswb"}),
}


def narrow(codes: Sequence[Expr], zero_point: int, dtype: str, lanes: int) -> Expr:
    """``clip(codes + zero_point)`` as bytes: ``len(codes)`` (2 to 4) vectors of int32, in order.

    The zero point is added in 16 bits, saturating; it is a code of ``dtype``.
    """
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


def _pack(name: str, dtype: str, left: Expr, right: Expr) -> Expr:
    return bind(tir.call_llvm_pure_intrin(dtype, f"llvm.x86.{name}", left, right))


def _shifted(words: Expr, zero_point: int) -> Expr:
    if zero_point == 0:
        return words
    dtype = str(words.ty).strip('"')
    lanes = dtype.partition("x")[2]
    offset = splat(zero_point, words, "int16")
    return bind(tir.call_llvm_pure_intrin(dtype, f"llvm.sadd.sat.v{lanes}i16", words, offset))
