// The instructions of tensor cores and of staging, each with what it means.
//
// Source: PTX ISA, "mma", "ldmatrix", "cp.async".
// Where HAGO_EMULATION is defined, these functions come from elsewhere (tests/cuda/device.h).
#pragma once
#include <cstdint>

namespace hago {

#ifndef HAGO_EMULATION

// Element types of products: 32 bytes of a row of A, 32 of a column of B, sums of 16x8.
struct S8 { typedef int Sum; };     // signed by signed bytes
struct U8S8 { typedef int Sum; };   // unsigned by signed bytes
struct S4 { typedef int Sum; };     // signed nibbles, the lower one of a byte first
struct E4M3 { typedef float Sum; };
struct BF16 { typedef float Sum; };

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Four matrices of 8 rows of 16 bytes. Lane 8 i + r gives the address of row r of matrix i; lane l
// gets bytes 4 (l % 4) .. + 3 of row l / 4 of each.
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row)) : "memory");
}

#if __CUDA_ARCH__ >= 800
// BYTES from global to shared memory, in the background; zeros where nothing is valid.
template <int BYTES>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool valid) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "sizes of cp.async");
  int size = valid ? BYTES : 0;
  if constexpr (BYTES == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared_address(to)), "l"(from), "r"(size) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                 :: "r"(shared_address(to)), "l"(from), "n"(BYTES), "r"(size) : "memory");
}

// Ends a group of copies of this thread.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most N groups of this thread are under way.
template <int N> __device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory");
}
#endif

// c += a b: rows r and r + 8 of A (r = lane / 4) and column r of B, bytes 4 (lane % 4) .. + 3 of
// each half of 16; c[0..1] are columns 2 (lane % 4) .. + 1 of row r, c[2..3] of row r + 8.
#define HAGO_MULTIPLY_INTEGERS(TYPE, K32, K16, OPERANDS)                                       \
  __device__ __forceinline__ void multiply(TYPE, int (&c)[4], const uint32_t (&a)[4],          \
                                           const uint32_t* b) {                                \
    HAGO_MULTIPLY_BODY(K32, K16, OPERANDS)                                                     \
  }
#if __CUDA_ARCH__ >= 800
#define HAGO_MULTIPLY_BODY(K32, K16, OPERANDS)                                                 \
  asm volatile("mma.sync.aligned.m16n8" K32 ".row.col.s32." OPERANDS ".s32 "                   \
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"               \
               : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                                \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
// Turing multiplies 8x16 by 16x8: both halves of rows, both halves of bytes.
#define HAGO_MULTIPLY_BODY(K32, K16, OPERANDS)                                                 \
  _Pragma("unroll") for (int i = 0; i < 4; ++i)                                                \
    asm volatile("mma.sync.aligned.m8n8" K16 ".row.col.s32." OPERANDS ".s32 "                  \
                 "{%0, %1}, {%2}, {%3}, {%0, %1};"                                             \
                 : "+r"(c[i % 2 * 2]), "+r"(c[i % 2 * 2 + 1]) : "r"(a[i]), "r"(b[i / 2]));
#endif
HAGO_MULTIPLY_INTEGERS(S8, "k32", "k16", "s8.s8")
HAGO_MULTIPLY_INTEGERS(U8S8, "k32", "k16", "u8.s8")
HAGO_MULTIPLY_INTEGERS(S4, "k64", "k32", "s4.s4")

#if __CUDA_ARCH__ >= 800
__device__ __forceinline__ void multiply(BF16, float (&c)[4], const uint32_t (&a)[4],
                                         const uint32_t* b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

#if __CUDA_ARCH__ >= 890
__device__ __forceinline__ void multiply(E4M3, float (&c)[4], const uint32_t (&a)[4],
                                         const uint32_t* b) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

#endif  // HAGO_EMULATION

}  // namespace hago
