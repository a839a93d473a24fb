// The instructions of a warpgroup's tensor cores (Hopper), each with what it means.
//
// Source: PTX ISA, "wgmma", "Matrix Descriptor Format", "Async Proxy".
// Only sm_90a has them. Where HAGO_EMULATION is defined, all but the descriptor comes from elsewhere
// (tests/cuda).
#pragma once
#include "hago/mma.cuh"

namespace hago {

constexpr int GROUP_ROWS_OF_A = 64, GROUP_WARPS = 4;
constexpr int SWIZZLED = 512;  // bytes after which the pattern of 64-byte rows begins anew

// A matrix in shared memory that instructions read by themselves: rows of 64 bytes, eight of them
// after 512, whose four chunks of 16 are permuted by bits 7 and 8 of their addresses, as `place`
// does. `start` is 0 or 32 bytes behind a multiple of 512, which its bits 49 to 51 say.
__device__ __forceinline__ uint64_t matrix_at(const void* start) {
  constexpr uint64_t UNUSED = 1, STRIDE = SWIZZLED >> 4, SWIZZLE_64 = 2;
  return uint64_t((shared_address(start) & 0x3ffff) >> 4) | UNUSED << 16 | STRIDE << 32 |
         SWIZZLE_64 << 62;
}

#ifndef HAGO_EMULATION

// What this thread stored to shared memory is there for instructions that read it by themselves.
__device__ __forceinline__ void publish_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Products that follow find sums as this thread left them.
__device__ __forceinline__ void publish_sums() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// Ends a group of products of this warpgroup.
__device__ __forceinline__ void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits until at most N groups of this warpgroup are under way; sums are there where none is.
template <int N> __device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(N) : "memory");
}

// c += a b in the background: 64 rows of 32 bytes, the columns of c by 32 bytes. Warp w of the group
// gets rows 16 w .. + 15; of eight columns a lane gets what it gets of an mma (mma.cuh).
#define HAGO_4(C, i) C(c[i][0]), C(c[i][1]), C(c[i][2]), C(c[i][3])
#define HAGO_16(C, i) HAGO_4(C, i), HAGO_4(C, i + 1), HAGO_4(C, i + 2), HAGO_4(C, i + 3)
#define HAGO_32(C) HAGO_16(C, 0)
#define HAGO_64(C) HAGO_16(C, 0), HAGO_16(C, 4)
#define HAGO_128(C) HAGO_16(C, 0), HAGO_16(C, 4), HAGO_16(C, 8), HAGO_16(C, 12)
#define HAGO_NAMES_32                                                                            \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define HAGO_NAMES_64                                                                            \
  HAGO_NAMES_32 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define HAGO_NAMES_128                                                                           \
  HAGO_NAMES_64 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, "  \
                "%47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define HAGO_PRODUCT(TYPE, N, K, SUM, C, OPERANDS, FIRST, SECOND, REST)                          \
  __device__ __forceinline__ void multiply_group(TYPE, SUM (&c)[N / 8][4], uint64_t a,           \
                                                 uint64_t b) {                                   \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #N K OPERANDS " {" HAGO_NAMES_##N "}, "     \
                 FIRST ", " SECOND ", 1" REST ";" : HAGO_##N(C) : "l"(a), "l"(b));               \
  }
#define HAGO_PRODUCTS(TYPE, K, SUM, C, OPERANDS, REST)                                           \
  HAGO_PRODUCT(TYPE, 32, K, SUM, C, OPERANDS, "%16", "%17", REST)                                \
  HAGO_PRODUCT(TYPE, 64, K, SUM, C, OPERANDS, "%32", "%33", REST)                                \
  HAGO_PRODUCT(TYPE, 128, K, SUM, C, OPERANDS, "%64", "%65", REST)
HAGO_PRODUCTS(S8, "k32", int, "+r", ".s32.s8.s8", "")
HAGO_PRODUCTS(U8S8, "k32", int, "+r", ".s32.u8.s8", "")
HAGO_PRODUCTS(E4M3, "k32", float, "+f", ".f32.e4m3.e4m3", ", 1, 1")
HAGO_PRODUCTS(BF16, "k16", float, "+f", ".f32.bf16.bf16", ", 1, 1, 0, 0")

#endif

}  // namespace hago
