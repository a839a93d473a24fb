"""Dot-product instructions of Arm's Advanced SIMD: what each computes, and the code it becomes.

Vectors have 128 bits: four lanes of 32. Arm Architecture Reference Manual for A-profile, C7.2:
SDOT, UDOT, USDOT (vector), SMMLA, UMMLA, USMMLA, SMULL, SADALP, SMLAL (by element), BFMMLA, FMLA.
"""

from __future__ import annotations

from typing import TypeAlias

from tvm import tirx as tir

from hago.codegen.intrin.dot import Dot
from hago.codegen.vector import cast

Expr: TypeAlias = tir.Expr


def _dot(name: str, signed: str) -> Dot:
    """Four products of bytes into each of four int32; ``signed`` are the dtypes of A and B."""
    data, weight = signed.split()

    def multiply(acc: Expr, words: Expr, b: Expr, lanes: int) -> Expr:
        a = tir.reinterpret(f"{data}x{lanes * 4}", words)
        # The second factor may be one word of a register.
        factors = (b, a) if data == weight else (a, b)
        return tir.call_llvm_pure_intrin(
            f"int32x{lanes}", f"llvm.aarch64.neon.{name}.v4i32.v16i8", acc, *factors
        )

    return Dot(name, data, weight, "int32", 4, multiply, words=4)


def _matrix(name: str, signed: str) -> Dot:
    """2x8 by 8x2 products of bytes into 2x2 int32."""
    data, weight = signed.split()

    def multiply(acc: Expr, a: Expr, b: Expr, lanes: int) -> Expr:
        return tir.call_llvm_pure_intrin(
            "int32x4", f"llvm.aarch64.neon.{name}.v4i32.v16i8", acc, a, b
        )

    return Dot(name, data, weight, "int32", 8, multiply, words=2, rows=2)


def _fmla(acc: Expr, a: Expr, b: Expr, lanes: int) -> Expr:
    return acc + a * b


def _smull(acc: Expr, a: Expr, b: Expr, lanes: int) -> Expr:
    """16 products of bytes into 4 partial sums: SMULL, SMLAL2 and SADALP. Pairs of products meet in
    16 bits: only for weights proven to fit (``|b| <= 127``)."""
    halves = (list(range(8)), list(range(8, 16)))
    low, high = (
        cast(tir.Shuffle([a], half), "int16") * cast(tir.Shuffle([b], half), "int16")
        for half in halves
    )
    pairs = tir.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.saddlp.v4i32.v8i16", low + high)
    return acc + pairs


def _smlal(acc: Expr, a: Expr, b: Expr, lanes: int) -> Expr:
    """Products of 16 bits, exact in 32: bytes are widened before."""
    return acc + cast(a, "int32") * cast(b, "int32")


def _bfmmla(acc: Expr, a: Expr, b: Expr, lanes: int) -> Expr:
    """2x4 by 4x2 products of bfloat16 into 2x2 float32. Without FEAT_EBF16 sums are rounded to
    odd, and denormals count as zero."""
    words = [tir.reinterpret("int32x4", operand) for operand in (a, b)]
    return tir.call_extern("float32x4", "hago_bfmmla", acc, *words)


# As for VDPBF16PS (hago/codegen/intrin/dot.py): TVM has no vectors of bfloat16.
_BFMMLA = """
declare <4 x float> @llvm.aarch64.neon.bfmmla(<4 x float>, <8 x bfloat>, <8 x bfloat>)
define linkonce_odr <4 x float> @hago_bfmmla(
    <4 x float> %acc, <4 x i32> %a, <4 x i32> %b) alwaysinline nounwind {
  %x = bitcast <4 x i32> %a to <8 x bfloat>
  %y = bitcast <4 x i32> %b to <8 x bfloat>
  %sum = call <4 x float> @llvm.aarch64.neon.bfmmla(
      <4 x float> %acc, <8 x bfloat> %x, <8 x bfloat> %y)
  ret <4 x float> %sum
}
"""

# In order of preference where a machine has several.
DOTS: tuple[Dot, ...] = (
    _matrix("smmla", "int8 int8"),
    _matrix("ummla", "uint8 uint8"),
    _matrix("usmmla", "uint8 int8"),
    _dot("sdot", "int8 int8"),
    _dot("udot", "uint8 uint8"),
    _dot("usdot", "uint8 int8"),
    Dot("smull", "int8", "int8", "int32", 16, _smull, sums=4, proof="int8_pairs"),
    Dot("smlal", "int16", "int16", "int32", 1, _smlal, words=8),
    Dot("bfmmla", "uint16", "uint16", "float32", 4, _bfmmla, _BFMMLA, 2, 2),
    Dot("fmla", "float32", "float32", "float32", 1, _fmla, words=4),
)
