// What a warp adds up on tensor cores, and how it leaves.
#pragma once
#include "hago/window.cuh"

namespace hago {

// The sums of one warp, and how they grow by a tile of shared memory. Those of GROUP bytes of depth
// join float32 totals, times their scales where they are SCALED.
template <class G> struct Sums {
  static constexpr int M = G::WM / 16, N = G::WN / 8;
  typedef typename G::Type::Sum Sum;
  typedef typename G::Result Result;
  Sum of[M][N][4];
  Result totals[G::GROUP > 0 ? M : 1][G::GROUP > 0 ? N : 1][4];
  const float* scales;  // [depth / GROUP][channels]
  int first_channel;    // of the block

  __device__ __forceinline__ Sums(const float* scales, int first_channel)
      : scales(scales), first_channel(first_channel) {
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          of[m][n][i] = 0;
          if constexpr (G::GROUP > 0) totals[m][n][i] = 0;
        }
  }

  // The sums of a group, times its scales, join the totals.
  __device__ __forceinline__ void end_group(int group, int channel) {
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int c = first_channel + channel + n * 8 + threadIdx.x % 4 * 2 + i;
        float scale = 1.0f;
        if constexpr (G::SCALED)
          scale = c < G::CHANNELS ? scales[int64_t(group) * G::CHANNELS + c] : 0.0f;
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
          for (int half = i; half < 4; half += 2) {
            totals[m][n][half] += Result(of[m][n][half]) * scale;
            of[m][n][half] = 0;
          }
      }
  }

  __device__ __forceinline__ Result result(int m, int n, int i) const {
    if constexpr (G::GROUP > 0) return totals[m][n][i] + Result(of[m][n][i]);
    else return of[m][n][i];
  }

  __device__ __forceinline__ void end() {
    if constexpr (G::IN_GROUPS) wait_products<0>();
  }

  // By a warpgroup, whose tensor cores read shared memory by themselves: a tile is multiplied while
  // the next one is waited for, if others than that are written (IN_BACKGROUND).
  __device__ __forceinline__ void add_in_group(const uint8_t* a, const uint8_t* b, int row,
                                               int tile) {
    publish_sums();
#pragma unroll
    for (int half = 0; half < DEPTH_TILE / 32; ++half)
      multiply_group(typename G::Type(), of[0],
                     matrix_at(a + row / GROUP_ROWS_OF_A * GROUP_ROWS_OF_A * DEPTH_TILE + half * 32),
                     matrix_at(b + half * 32));
    commit_products();
    if constexpr (G::GROUP > 0) {
      static_assert(G::GROUP % DEPTH_TILE == 0, "groups of whole tiles");
      const int depth = tile * DEPTH_TILE + DEPTH_TILE;
      if (depth % G::GROUP == 0 && depth <= G::DEPTH) {
        wait_products<0>();
        return end_group(depth / G::GROUP - 1, 0);
      }
    }
    wait_products<G::IN_BACKGROUND>();
  }

  __device__ __forceinline__ void add(const uint8_t* a, const uint8_t* b, int row, int channel,
                                      int tile) {
    if constexpr (G::IN_GROUPS) return add_in_group(a, b, row, tile);
    else return add_in_warps(a, b, row, channel, tile);
  }

  __device__ __forceinline__ void add_in_warps(const uint8_t* a, const uint8_t* b, int row,
                                               int channel, int tile) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < DEPTH_TILE / 32; ++half) {
      uint32_t rows[M][4], columns[N / 2][4];
#pragma unroll
      for (int m = 0; m < M; ++m)  // matrices: rows 0-7 and 8-15, then the next 16 bytes of both
        load_matrices(rows[m], a + place(row + m * 16 + lane % 16, half * 2 + lane / 16));
#pragma unroll
      for (int n = 0; n < N / 2; ++n)  // both halves of 8 columns, then of the next 8
        load_matrices(columns[n], b + place(channel + n * 16 + lane % 8 + lane / 16 * 8,
                                            half * 2 + lane / 8 % 2));
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int n = 0; n < N; ++n)
          multiply(typename G::Type(), of[m][n], rows[m], columns[n / 2] + n % 2 * 2);
      if constexpr (G::GROUP > 0) {
        const int depth = tile * DEPTH_TILE + half * 32 + 32;
        if (depth % G::GROUP == 0 && depth <= G::DEPTH) end_group(depth / G::GROUP - 1, channel);
      }
    }
  }

  // Sums go through shared memory, 16 rows of a warp at a time, so that neighbouring lanes get
  // neighbouring channels: loads of operands and stores of results are whole words.
  template <class E>
  __device__ __forceinline__ void leave(Result* held, const E& epilogue, int row, int channel,
                                        int group) {
    constexpr int PITCH = G::WN + 8, V = G::LANES, ACROSS = G::WN / V;
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          Result pair[2] = {result(m, n, half * 2), result(m, n, half * 2 + 1)};
          store<2>(held + (lane / 4 + half * 8) * PITCH + n * 8 + lane % 4 * 2, pair);
        }
      __syncwarp();
      for (int i = lane; i < 16 * ACROSS; i += 32) {
        int r = row + m * 16 + i / ACROSS, c = channel + i % ACROSS * V;
        if (r < G::ROWS && c < G::CHANNELS) {
          Result sums[V];
          load<V>(sums, held + i / ACROSS * PITCH + i % ACROSS * V);
          epilogue(sums, group * G::GROUP_ROWS + r, group * G::GROUP_CHANNELS + c);
        }
      }
      __syncwarp();
    }
  }
};

}  // namespace hago
