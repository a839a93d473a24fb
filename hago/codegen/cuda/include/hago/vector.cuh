// Several neighbours in memory at once. Addresses are multiples of what is loaded or stored.
#pragma once
#include "hago/float8.cuh"

namespace hago {

template <int BYTES> struct Word;
template <> struct Word<1> { typedef uint8_t Type; };
template <> struct Word<2> { typedef uint16_t Type; };
template <> struct Word<4> { typedef uint32_t Type; };
template <> struct Word<8> { typedef uint2 Type; };
template <> struct Word<16> { typedef uint4 Type; };

template <int N, typename T> union Lanes {
  static constexpr int BYTES = N * int(sizeof(T));
  static constexpr int WIDTH = BYTES < 16 ? BYTES : 16;
  typename Word<WIDTH>::Type words[BYTES / WIDTH];
  T values[N];
};

template <int N, typename T>
__device__ __forceinline__ void load(T (&to)[N], const T* from) {
  Lanes<N, T> lanes;
  typedef typename Word<Lanes<N, T>::WIDTH>::Type Wide;
#pragma unroll
  for (int i = 0; i < Lanes<N, T>::BYTES / Lanes<N, T>::WIDTH; ++i)
    lanes.words[i] = reinterpret_cast<const Wide*>(from)[i];
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = lanes.values[i];
}

template <int N, typename T>
__device__ __forceinline__ void store(T* to, const T (&from)[N]) {
  Lanes<N, T> lanes;
  typedef typename Word<Lanes<N, T>::WIDTH>::Type Wide;
#pragma unroll
  for (int i = 0; i < N; ++i) lanes.values[i] = from[i];
#pragma unroll
  for (int i = 0; i < Lanes<N, T>::BYTES / Lanes<N, T>::WIDTH; ++i)
    reinterpret_cast<Wide*>(to)[i] = lanes.words[i];
}

// The nearest bfloat16 of a number, ties to even; NaN stays NaN.
__device__ __forceinline__ uint16_t to_bfloat16(float x) {
  uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

__device__ __forceinline__ float from_bfloat16(uint16_t bits) {
  return __uint_as_float(uint32_t(bits) << 16);
}

// What an accumulator adds up: numbers as they are, narrow floats as float32.
template <typename A, typename T> struct Widened {
  static __device__ __forceinline__ A of(T value) { return A(value); }
};
template <> struct Widened<float, uint16_t> {
  static __device__ __forceinline__ float of(uint16_t bits) { return from_bfloat16(bits); }
};
template <> struct Widened<float, Float8> {
  static __device__ __forceinline__ float of(Float8 value) { return from_float8(value); }
};

}  // namespace hago
