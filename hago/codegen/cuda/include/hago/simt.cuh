// The same products in float32, by fused multiply-adds: there is no tensor core for it.
//
// A block of 256 threads computes 64 x 64 sums, a thread 4 x 4; 16 elements of the depth are in
// shared memory, transposed, so that a thread reads four rows and four channels as one word each.
#pragma once
#include "hago/window.cuh"

namespace hago {

template <class G> struct Multiplication {
  static constexpr int SIDE = 64, PITCH = SIDE + 4, DEEP = DEPTH_TILE / 4;

  const float* weight;
  int channel, group;

  // Four neighbours along the depth of a channel (packed B), or along channels (B as it is).
  __device__ __forceinline__ void load_b(float (&to)[4], int tile) const {
    if constexpr (G::PACKED) {
      const int64_t n = int64_t(group) * G::CHANNELS_PADDED + channel + threadIdx.x / CHUNKS;
      load<4>(to, weight + n * (G::DEPTH_PADDED / 4) + tile * DEEP + threadIdx.x % CHUNKS * 4);
    } else {
      const int k = tile * DEEP + threadIdx.x / 16, n = channel + threadIdx.x % 16 * 4;
      const float* from = weight + (int64_t(group) * (G::DEPTH / 4) + k) * G::CHANNELS + n;
#pragma unroll
      for (int i = 0; i < 4; ++i)
        to[i] = k < G::DEPTH / 4 && n + i < G::CHANNELS ? from[i] : 0.0f;
    }
  }

  static __device__ __forceinline__ void put_b(float* to, const float (&from)[4]) {
    if constexpr (G::PACKED) return put_transposed(to, from);
    store<4>(to + threadIdx.x / 16 * PITCH + threadIdx.x % 16 * 4, from);
  }

  static __device__ __forceinline__ void put_transposed(float* to, const float (&from)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      to[(threadIdx.x % CHUNKS * 4 + i) * PITCH + threadIdx.x / CHUNKS] = from[i];
  }

  static __device__ __forceinline__ void add(float (&sums)[4][4], const float* a, const float* b) {
#pragma unroll
    for (int k = 0; k < DEEP; ++k) {
      float rows[4], columns[4];
      load<4>(rows, a + k * PITCH + threadIdx.x / 16 * 4);
      load<4>(columns, b + k * PITCH + threadIdx.x % 16 * 4);
#pragma unroll
      for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int n = 0; n < 4; ++n) sums[m][n] += rows[m] * columns[n];
    }
  }
};

template <class G, class E>
__device__ __forceinline__ void product_simt(const void* data, const void* weight,
                                             const E& epilogue, void* shared) {
  typedef Multiplication<G> Block;
  constexpr int ACROSS = G::CHANNELS_PADDED / Block::SIDE;
  constexpr int DOWN = (G::ROWS + Block::SIDE - 1) / Block::SIDE, TILES = G::DEPTH_PADDED / DEPTH_TILE;
  const int tile = blockIdx.x % (ACROSS * DOWN), group = blockIdx.x / (ACROSS * DOWN);
  const int row = tile / ACROSS * Block::SIDE, channel = tile % ACROSS * Block::SIDE;
  const uint8_t* image = static_cast<const uint8_t*>(data);
  const Window<G> window(row + threadIdx.x / CHUNKS, group);
  const Block block{static_cast<const float*>(weight), channel, group};
  float *a = static_cast<float*>(shared), *b = a + Block::DEEP * Block::PITCH;
  float sums[4][4] = {};
  for (int t = 0; t < TILES; ++t) {
    union { uint4 chunk; float values[4]; } held;
    float columns[4];
    held.chunk = chunk_of<G>(image, window, t * DEPTH_TILE + threadIdx.x % CHUNKS * CHUNK);
    block.load_b(columns, t);
    __syncthreads();  // the tile before is read by all
    Block::put_transposed(a, held.values);
    Block::put_b(b, columns);
    __syncthreads();
    Block::add(sums, a, b);
  }
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    const int r = row + threadIdx.x / 16 * 4 + m, c = channel + threadIdx.x % 16 * 4;
#pragma unroll
    for (int first = 0; first < 4; first += G::LANES) {
      float part[G::LANES];
#pragma unroll
      for (int i = 0; i < G::LANES; ++i) part[i] = sums[m][first + i];
      if (r < G::ROWS && c + first < G::CHANNELS)
        epilogue(part, group * G::GROUP_ROWS + r, group * G::GROUP_CHANNELS + c + first);
    }
  }
}

}  // namespace hago
