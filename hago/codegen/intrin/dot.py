"""Dot-product instructions of x86: what each computes, and the code it becomes, side by side.

A row multiplies ``depth`` consecutive reduction elements of a row of A, broadcast to all lanes,
by packed B (``[lane][depth]``) and adds the products of a lane to its accumulator:

    acc[l] += sum_d a[d] * b[l, d]

Intel 64 and IA-32 SDM vol. 2: VFMADD231PS, VPDPBUSD, VPDPWSSD, VPMADDUBSW, VPMADDWD, VDPBF16PS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tvm import tirx as tir

from hago.codegen import wrapping
from hago.codegen.vector import splat

Expr: TypeAlias = tir.Expr


@dataclass(frozen=True)
class Halves:
    """The two parts of a sequence whose sums of two products are 16 bits wide, and saturate.

    ``multiply(words, b, lanes)`` gives them, ``join(acc, halves, lanes)`` adds two to each lane:
    of narrow weights more than one may be added up before they are joined.
    """

    multiply: Callable[[Expr, Expr, int], Expr]
    join: Callable[[Expr, Expr, int], Expr]


@dataclass(frozen=True)
class Dot:
    """One instruction (or fixed sequence).

    ``data`` is the dtype of A as the kernel reads it (uint16 for the bits of bfloat16),
    ``weight`` of packed B, ``accum`` of the lanes; ``multiply(acc, words, b, lanes)`` takes A as
    one 32-bit word a lane (of ``depth`` elements, as int32; float32 where ``depth`` is 1).
    ``llvm`` defines functions that ``multiply`` calls. ``words`` of A are loaded at once where the
    instruction takes any of a register's words for all lanes. Where ``rows`` is 2, a register holds
    2x2 sums and ``multiply(acc, a, b, 4)`` takes two rows of A and two columns of B: see
    hago/codegen/pairs.py. Where ``sums`` is 4, each column has a register of partial sums and
    ``multiply(acc, a, b, 4)`` takes a row and a column: see hago/codegen/partial.py. ``proof`` is
    the range of weights (a ``weight`` of a workload) without which results would be wrong.
    ``halves`` are the parts of ``multiply`` where it sums in 16 bits first.
    """

    name: str
    data: str
    weight: str
    accum: str
    depth: int
    multiply: Callable[[Expr, Expr, Expr, int], Expr]
    llvm: str = ""
    words: int = 1
    rows: int = 1
    sums: int = 1
    proof: str = ""
    halves: Halves | None = None

    def emit(self, acc: Expr, a: Expr, b: Expr, lanes: int) -> Expr:
        """``acc`` plus the products of A's ``depth`` elements, the same in every lane, and B."""
        return self.multiply(acc, self.spread(a, lanes), b, lanes)

    def spread(self, a: Expr, lanes: int) -> Expr:
        """A's ``depth`` elements in every lane, as ``multiply`` takes them."""
        return tir.Broadcast(a if self.depth == 1 else tir.reinterpret("int32", a), lanes)


def _as(words: Expr, lanes: int, bits: int) -> Expr:
    """32-bit ``words`` read as ``bits``-wide integers."""
    return tir.reinterpret(f"int{bits}x{lanes * 32 // bits}", words)


def _call(name: str, dtype: str, *args: Expr) -> Expr:
    return tir.call_llvm_pure_intrin(dtype, name, *args)


def _fma(acc: Expr, a: Expr, b: Expr, lanes: int) -> Expr:
    return acc + a * b


def _vpdpbusd(acc: Expr, a: Expr, b: Expr, lanes: int) -> Expr:
    bits = lanes * 32
    name = f"llvm.x86.avx512.vpdpbusd.{bits}"
    return _call(name, f"int32x{lanes}", acc, _as(a, lanes, 8), b)


def _vpdpwssd(acc: Expr, a: Expr, b: Expr, lanes: int) -> Expr:
    name = f"llvm.x86.avx512.vpdpwssd.{lanes * 32}"
    return _call(name, f"int32x{lanes}", acc, _as(a, lanes, 16), b)


def _vpmaddubsw(acc: Expr, a: Expr, b: Expr, lanes: int) -> Expr:
    """Pairs saturate in int16: only for weights proven to fit (:mod:`hago.pairs`)."""
    return _joined(acc, _byte_pairs(a, b, lanes), lanes)


def _byte_pairs(a: Expr, b: Expr, lanes: int) -> Expr:
    name = "llvm.x86.avx512.pmaddubs.w.512" if lanes == 16 else "llvm.x86.avx2.pmadd.ub.sw"
    return _call(name, f"int16x{lanes * 2}", _as(a, lanes, 8), b)


def _joined(acc: Expr, halves: Expr, lanes: int) -> Expr:
    return acc + _pair_sums(halves, splat(1, halves, "int16"), lanes)


def _vpmaddwd(acc: Expr, a: Expr, b: Expr, lanes: int) -> Expr:
    return acc + _pair_sums(_as(a, lanes, 16), b, lanes)


def _vpmaddwd_wrapping(acc: Expr, a: Expr, b: Expr, lanes: int) -> Expr:
    return wrapping.add(acc, _pair_sums(_as(a, lanes, 16), b, lanes))


def _pair_sums(left: Expr, right: Expr, lanes: int) -> Expr:
    """VPMADDWD: exact, the sum of two int16 products always fits an int32."""
    name = "llvm.x86.avx512.pmaddw.d.512" if lanes == 16 else "llvm.x86.avx2.pmadd.wd"
    return _call(name, f"int32x{lanes}", left, right)


def _vdpbf16ps(acc: Expr, a: Expr, b: Expr, lanes: int) -> Expr:
    """Two fused multiply-adds to nearest even, the odd element's first; denormals count as zero
    and results below 2^-126 become zero, whatever MXCSR says."""
    words = tir.reinterpret(f"int32x{lanes}", b)
    return tir.call_extern(f"float32x{lanes}", "hago_vdpbf16ps", acc, a, words)


# TVM makes float32 of every bfloat16 in TIR, and LLVM's intrinsic takes nothing else: the
# conversion from integers happens in LLVM. The definition is inlined before code generation.
_VDPBF16PS = """
declare <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float>, <32 x bfloat>, <32 x bfloat>)
define linkonce_odr <16 x float> @hago_vdpbf16ps(
    <16 x float> %acc, <16 x i32> %a, <16 x i32> %b) alwaysinline nounwind {
  %x = bitcast <16 x i32> %a to <32 x bfloat>
  %y = bitcast <16 x i32> %b to <32 x bfloat>
  %sum = call <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(
      <16 x float> %acc, <32 x bfloat> %x, <32 x bfloat> %y)
  ret <16 x float> %sum
}
"""

# In order of preference where a machine has several.
DOTS: tuple[Dot, ...] = (
    Dot("vpdpbusd", "uint8", "int8", "int32", 4, _vpdpbusd),
    Dot("vpmaddwd", "int16", "int16", "int32", 2, _vpmaddwd),
    Dot("vdpbf16ps", "uint16", "uint16", "float32", 2, _vdpbf16ps, _VDPBF16PS),
    Dot("vfmadd", "float32", "float32", "float32", 1, _fma),
)
# Of words whose sums may wrap modulo 2^32, by what multiplies bytes: AVX-512 VNNI has both.
WRAPPING = {
    "vpdpbusd": Dot("vpdpwssd", "int16", "int16", "int32", 2, _vpdpwssd, wrapping.LLVM),
    "vpmaddwd": Dot("vpmaddwd", "int16", "int16", "int32", 2, _vpmaddwd_wrapping, wrapping.LLVM),
}
# Chosen only where the weights of a kernel are proven to be narrow.
NARROW = Dot(
    "vpmaddubsw", "uint8", "int8", "int32", 4, _vpmaddubsw, proof="int8_pairs",
    halves=Halves(_byte_pairs, _joined),
)  # fmt: skip
