"""The instructions that a specification may name."""

from __future__ import annotations

from dataclasses import dataclass

from hago.scheme import BFLOAT16, E4M3, FLOAT32, INT4, INT8, INT16, INT32, UINT8, DType

# Instructions that hago has kernels or a numpy meaning for, by the manuals' mnemonics.
INTRINSICS: dict[str, str] = {
    "vpmaddubsw": "AVX2/AVX-512BW: pairs of u8 x s8 products, saturating int16",
    "vpmaddwd": "AVX2/AVX-512BW: pairs of s16 products, exact int32",
    "vpdpbusd": "AVX512_VNNI: four u8 x s8 products into int32",
    "tdpbusd": "AMX-INT8: 16x64 by 64x16 tiles of u8 x s8 into int32",
    "tdpbf16ps": "AMX-BF16: 16x32 by 32x16 tiles of bfloat16 into float32",
    "vdpbf16ps": "AVX512_BF16: pairs of bfloat16 products into float32",
    "vfmadd": "fused multiply-add of float32",
    "sdot": "Arm FEAT_DotProd: four s8 x s8 products into int32",
    "udot": "Arm FEAT_DotProd: four u8 x u8 products into uint32",
    "usdot": "Arm FEAT_I8MM: four u8 x s8 products into int32",
    "smmla": "Arm FEAT_I8MM: 2x8 by 8x2 s8 products into int32",
    "ummla": "Arm FEAT_I8MM: 2x8 by 8x2 u8 products into uint32",
    "usmmla": "Arm FEAT_I8MM: 2x8 by 8x2 u8 x s8 products into int32",
    "bfmmla": "Arm FEAT_BF16: 2x4 by 4x2 bfloat16 products into float32",
    "smull": "Arm Advanced SIMD: pairs of s8 products meet in s16 (SMULL, SMLAL2, SADALP)",
    "smlal": "Arm Advanced SIMD: products of s16 added to int32",
    "sqrdmulh": "Arm Advanced SIMD: the upper half of a doubled s32 product, rounded",
    "tbl": "Arm Advanced SIMD: bytes looked up in a table of up to 64",
    "fmla": "Arm Advanced SIMD: fused multiply-add of float32",
    "dp4a": "PTX dp4a: four 8-bit products into int32",
    "mma.m8n8k16.s8": "PTX mma, sm_75: s8 tensor cores",
    "mma.m8n8k32.s4": "PTX mma, sm_75: s4 tensor cores",
    "mma.m16n8k32.s8": "PTX mma, sm_80: s8 tensor cores",
    "mma.m16n8k64.s4": "PTX mma, sm_80: s4 tensor cores",
    "mma.m16n8k16.bf16": "PTX mma, sm_80: bfloat16 tensor cores",
    "mma.m16n8k32.e4m3": "PTX mma, sm_89: fp8 tensor cores",
    "wgmma.m64nNk32.s8": "PTX wgmma, sm_90a: s8 tensor cores of four warps",
    "wgmma.m64nNk32.e4m3": "PTX wgmma, sm_90a: fp8 tensor cores of four warps",
    "wgmma.m64nNk16.bf16": "PTX wgmma, sm_90a: bfloat16 tensor cores of four warps",
    "mme.e4m3": "Gaudi matrix multiplication engine in fp8",
    "mme.bf16": "Gaudi matrix multiplication engine in bfloat16",
    "fma.f32": "scalar or vector float32 multiply-add of an accelerator",
}


@dataclass(frozen=True)
class Products:
    """What an instruction multiplies: the element types of both operands, what it sums in, and how
    many reduction elements it takes at once. Where sums saturate, ``meet`` products are in one."""

    operands: tuple[DType, DType]
    sums: DType
    k: int = 1
    meet: int = 0


# Of instructions that multiply, those whose operands the manuals fix.
PRODUCTS: dict[str, Products] = {
    "vpmaddubsw": Products((UINT8, INT8), INT16, 2, meet=2),
    "vpmaddwd": Products((INT16, INT16), INT32, 2),
    "vpdpbusd": Products((UINT8, INT8), INT32, 4),
    "tdpbusd": Products((UINT8, INT8), INT32, 4),
    "tdpbf16ps": Products((BFLOAT16, BFLOAT16), FLOAT32, 2),
    "vdpbf16ps": Products((BFLOAT16, BFLOAT16), FLOAT32, 2),
    "vfmadd": Products((FLOAT32, FLOAT32), FLOAT32),
    "sdot": Products((INT8, INT8), INT32, 4),
    "udot": Products((UINT8, UINT8), INT32, 4),
    "usdot": Products((UINT8, INT8), INT32, 4),
    "smmla": Products((INT8, INT8), INT32, 8),
    "ummla": Products((UINT8, UINT8), INT32, 8),
    "usmmla": Products((UINT8, INT8), INT32, 8),
    "bfmmla": Products((BFLOAT16, BFLOAT16), FLOAT32, 4),
    "smull": Products((INT8, INT8), INT32, 2),
    "smlal": Products((INT16, INT16), INT32),
    "fmla": Products((FLOAT32, FLOAT32), FLOAT32),
    "mma.m8n8k16.s8": Products((INT8, INT8), INT32, 16),
    "mma.m8n8k32.s4": Products((INT4, INT4), INT32, 32),
    "mma.m16n8k32.s8": Products((INT8, INT8), INT32, 32),
    "mma.m16n8k64.s4": Products((INT4, INT4), INT32, 64),
    "mma.m16n8k16.bf16": Products((BFLOAT16, BFLOAT16), FLOAT32, 16),
    "mma.m16n8k32.e4m3": Products((E4M3, E4M3), FLOAT32, 32),
    "wgmma.m64nNk32.s8": Products((INT8, INT8), INT32, 32),
    "wgmma.m64nNk32.e4m3": Products((E4M3, E4M3), FLOAT32, 32),
    "wgmma.m64nNk16.bf16": Products((BFLOAT16, BFLOAT16), FLOAT32, 16),
    "mme.e4m3": Products((E4M3, E4M3), FLOAT32),
    "mme.bf16": Products((BFLOAT16, BFLOAT16), FLOAT32),
    "fma.f32": Products((FLOAT32, FLOAT32), FLOAT32),
}

# Of the others, those that add up no products (dp4a does, of signed and unsigned bytes).
NO_PRODUCTS = frozenset({"sqrdmulh", "tbl"})


@dataclass(frozen=True)
class Extension:
    """What a CPU or GPU must have for an instruction: one of ``words``, as Linux calls it in
    /proc/cpuinfo, or compute capabilities; ``llvm`` is a CPU's as the compiler calls it."""

    words: tuple[str, ...]
    llvm: str = ""


def _since(capability: int) -> Extension:
    later = range(capability, 200)  # there are none so far that are as large
    return Extension(tuple(f"sm_{number}{own}" for number in later for own in ("", "a")))


_AVX2 = Extension(("avx2", "avx512bw"), "avx2")
_DOTPROD, _I8MM = Extension(("asimddp",), "dotprod"), Extension(("i8mm",), "i8mm")

# Of instructions that not every CPU of 64 bits has, and not every GPU.
EXTENSIONS: dict[str, Extension] = {
    "vpmaddubsw": _AVX2,
    "vpmaddwd": _AVX2,
    "vpdpbusd": Extension(("avx512_vnni",), "avx512vnni"),
    "tdpbusd": Extension(("amx_int8",), "amx-int8"),
    "tdpbf16ps": Extension(("amx_bf16",), "amx-bf16"),
    "vdpbf16ps": Extension(("avx512_bf16",), "avx512bf16"),
    "sdot": _DOTPROD,
    "udot": _DOTPROD,
    "usdot": _I8MM,
    "smmla": _I8MM,
    "ummla": _I8MM,
    "usmmla": _I8MM,
    "bfmmla": Extension(("bf16",), "bf16"),
    "dp4a": _since(61),
    "mma.m8n8k16.s8": _since(75),
    "mma.m8n8k32.s4": _since(75),
    "mma.m16n8k32.s8": _since(80),
    "mma.m16n8k64.s4": _since(80),
    "mma.m16n8k16.bf16": _since(80),
    "mma.m16n8k32.e4m3": _since(89),
    "wgmma.m64nNk32.s8": Extension(("sm_90a",)),
    "wgmma.m64nNk32.e4m3": Extension(("sm_90a",)),
    "wgmma.m64nNk16.bf16": Extension(("sm_90a",)),
}
