// 8-bit floats: rounding to them, and e4m3 as it is in memory.
//
// Source: OCP 8-bit Floating Point Specification (OFP8); PTX ISA, "cvt".
#pragma once
#include <cstdint>

namespace hago {

// The nearest value of an 8-bit float, ties to even, to a number within its range: bits behind the
// mantissa are rounded away; numbers below the normal ones are multiples of the smallest.
template <int MANTISSA, int EXPONENT> __device__ __forceinline__ float round_float8(float x) {
  constexpr int DROP = 23 - MANTISSA;
  constexpr uint32_t SMALLEST = uint32_t(127 + EXPONENT) << 23;
  constexpr float UNIT = 1.0f / float(1 << (MANTISSA - EXPONENT));
  const uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) < SMALLEST) return rintf(x * (1.0f / UNIT)) * UNIT;
  const uint32_t carried = bits + ((1u << (DROP - 1)) - 1) + (bits >> DROP & 1u);
  return __uint_as_float(carried & ~((1u << DROP) - 1));
}

// An e4m3: 4 bits of exponent and 3 of mantissa; the largest is 448, all ones are NaN.
struct Float8 {
  uint8_t bits;
  Float8() = default;
  __device__ __forceinline__ explicit Float8(int bits) : bits(uint8_t(bits)) {}
};

// The nearest one, ties to even; beyond the largest, that; NaN stays NaN.
__device__ __forceinline__ Float8 to_float8(float x) {
#if __CUDA_ARCH__ >= 890 && !defined(HAGO_EMULATION)
  uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(0.0f), "f"(x));
  return Float8(pair);
#else
  if (x != x) return Float8(0x7f);
  // Times 2^-120 a value has the exponent that its code has, subnormal or not.
  const float value = round_float8<3, -6>(fmaxf(fminf(x, 448.0f), -448.0f)) * 0x1p-120f;
  const uint32_t bits = __float_as_uint(value);
  return Float8(int(bits >> 20 & 0x7fu | bits >> 24 & 0x80u));
#endif
}

// Four nibbles, -8..7, the lowest first, times `scale` as 8-bit floats.
__device__ __forceinline__ uint32_t float8s_of(uint32_t nibbles, float scale) {
  float values[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)  // 2^23 + n + 8, of which n + 8 are the last bits
    values[i] = (__uint_as_float(0x4b000000u | ((nibbles >> 4 * i & 15u) ^ 8u)) - 8388616.0f) * scale;
#if __CUDA_ARCH__ >= 890 && !defined(HAGO_EMULATION)
  uint16_t low, high;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(values[1]), "f"(values[0]));
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(values[3]), "f"(values[2]));
  return uint32_t(high) << 16 | low;
#else
  uint32_t bits = 0;
  for (int i = 0; i < 4; ++i) bits |= uint32_t(to_float8(values[i]).bits) << 8 * i;
  return bits;
#endif
}

__device__ __forceinline__ float from_float8(Float8 x) {
#if __CUDA_ARCH__ >= 890 && !defined(HAGO_EMULATION)
  uint32_t halves;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(uint16_t(x.bits)));
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(uint16_t(halves)));
  return value;
#else
  const uint32_t sign = uint32_t(x.bits & 0x80) << 24, code = x.bits & 0x7f;
  if (code == 0x7f) return __uint_as_float(sign | 0x7fc00000u);
  return __uint_as_float(sign | __float_as_uint(__uint_as_float(code << 20) * 0x1p120f));
#endif
}

}  // namespace hago
