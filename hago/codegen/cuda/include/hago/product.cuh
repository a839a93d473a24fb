// Rows gathered from an image times packed weights, in tiles of tensor cores.
//
//   out[row, channel] = epilogue(sum_k A[row, k] B[channel, k])
//
// A row is what a window of an NHWC image covers, tap after tap (an implicit matrix: nothing is
// rearranged in memory); a matrix product is the image of one pixel a row with one tap. All depths
// are bytes: an instruction takes 32, whatever the elements are. Where these are nibbles, a byte of
// A is made of two of the image. B is [channels][depth], padded
// with zeros to whole tiles; where both operands are activations it is [depth][channels], and is
// transposed in registers on its way. Where weights have a scale for each GROUP bytes of a column
// (0: they have none), sums of a group join float32 totals, times its scale. Where they are nibbles
// of which each DECODED have a scale, they are rounded to 8-bit floats on their way.
//
// A block computes BM x BN sums; WM x WN of them are a warp's. STAGES tiles of DEPTH_TILE bytes
// are in shared memory, rows of 64 bytes whose four chunks of 16 are permuted so that neither
// ldmatrix nor the copies meet in a bank. Where four warps multiply together (IN_GROUPS), 16 rows of
// their 64 are a warp's, and their tensor cores know that order of chunks.
#pragma once
#include "hago/sums.cuh"

namespace hago {

// A tile of B in registers: chunks of packed weights.
template <class P> struct HeldChunks {
  uint4 chunks[P::B_CHUNKS];

  __device__ __forceinline__ void fetch(const P& block, int tile) {
#pragma unroll
    for (int i = 0; i < P::B_CHUNKS; ++i)
      if (block.has(i, P::BN)) chunks[i] = *reinterpret_cast<const uint4*>(block.weights(i, tile));
  }

  __device__ __forceinline__ void put(const P& block, uint8_t* to) const {
#pragma unroll
    for (int i = 0; i < P::B_CHUNKS; ++i)
      if (block.has(i, P::BN)) *reinterpret_cast<uint4*>(to + block.at(i)) = chunks[i];
  }
};

// A tile of B in registers: words of [depth][channels], in squares of E x E elements, which are
// transposed when they are put. Eight squares along the depth and four along channels are a warp's.
template <class P> struct HeldSquares {
  static constexpr int SIZE = P::ELEMENT, E = 4 / SIZE, DOWN = DEPTH_TILE / 4, ACROSS = P::BN / E;
  static constexpr int SQUARES = (DOWN * ACROSS + P::THREADS - 1) / P::THREADS;
  uint32_t words[SQUARES][E];

  // The first element of a square along depth and channels, in elements of the tile.
  static __device__ __forceinline__ bool square(int number, int& k, int& n) {
    int i = threadIdx.x + number * P::THREADS;
    k = (i % 8 + i / (8 * ACROSS) * 8) * E;
    n = i / 8 % ACROSS * E;
    return DOWN * ACROSS % P::THREADS == 0 || i < DOWN * ACROSS;
  }

  static __device__ __forceinline__ uint32_t word(const P& block, int k, int n) {
    const uint8_t* from = block.weight + ((int64_t(block.group) * P::ROWS_OF_B + k) * P::CHANNELS +
                                          n) * SIZE;
    if (k >= P::ROWS_OF_B) return 0;
    if (P::CHANNELS % E == 0)
      return n < P::CHANNELS ? *reinterpret_cast<const uint32_t*>(from) : 0;
    union { uint32_t word; uint8_t bytes[4]; } held = {0};
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (n + i / SIZE < P::CHANNELS) held.bytes[i] = from[i];
    return held.word;
  }

  __device__ __forceinline__ void fetch(const P& block, int tile) {
#pragma unroll
    for (int i = 0; i < SQUARES; ++i) {
      int k, n;
      if (!square(i, k, n)) continue;
#pragma unroll
      for (int e = 0; e < E; ++e)
        words[i][e] = word(block, tile * (DEPTH_TILE / SIZE) + k + e, block.channel + n);
    }
  }

  __device__ __forceinline__ void put(const P&, uint8_t* to) const {
#pragma unroll
    for (int i = 0; i < SQUARES; ++i) {
      int k, n;
      if (!square(i, k, n)) continue;
      uint32_t turned[E];
      if constexpr (E == 4) {
        const uint32_t(&w)[E] = words[i];
        uint32_t low01 = __byte_perm(w[0], w[1], 0x5140), high01 = __byte_perm(w[0], w[1], 0x7362);
        uint32_t low23 = __byte_perm(w[2], w[3], 0x5140), high23 = __byte_perm(w[2], w[3], 0x7362);
        turned[0] = __byte_perm(low01, low23, 0x5410);
        turned[1] = __byte_perm(low01, low23, 0x7632);
        turned[2] = __byte_perm(high01, high23, 0x5410);
        turned[3] = __byte_perm(high01, high23, 0x7632);
      } else {
        turned[0] = __byte_perm(words[i][0], words[i][1], 0x5410);
        turned[1] = __byte_perm(words[i][0], words[i][1], 0x7632);
      }
#pragma unroll
      for (int e = 0; e < E; ++e) {
        const int byte = k * SIZE;
        *reinterpret_cast<uint32_t*>(to + place(n + e, byte / CHUNK) + byte % CHUNK) = turned[e];
      }
    }
  }
};

// A tile of B in registers: nibbles, which become 8-bit floats, times their scales, when they are put.
template <class P> struct HeldNibbles {
  uint2 nibbles[P::B_CHUNKS];
  float scales[P::B_CHUNKS];

  __device__ __forceinline__ void fetch(const P& block, int tile) {
#pragma unroll
    for (int i = 0; i < P::B_CHUNKS; ++i) {
      if (!block.has(i, P::BN)) continue;
      const uint8_t* from = block.weight + (block.weights(i, tile) - block.weight) / 2;
      nibbles[i] = *reinterpret_cast<const uint2*>(from);
      scales[i] = block.scale(i, tile);
    }
  }

  __device__ __forceinline__ void put(const P& block, uint8_t* to) const {
#pragma unroll
    for (int i = 0; i < P::B_CHUNKS; ++i)
      if (block.has(i, P::BN))
        *reinterpret_cast<uint4*>(to + block.at(i)) = {
            float8s_of(nibbles[i].x, scales[i]), float8s_of(nibbles[i].x >> 16, scales[i]),
            float8s_of(nibbles[i].y, scales[i]), float8s_of(nibbles[i].y >> 16, scales[i])};
  }
};

template <class P, bool PACKED, bool DECODED> struct HeldOf { typedef HeldChunks<P> Type; };
template <class P> struct HeldOf<P, false, false> { typedef HeldSquares<P> Type; };
template <class P> struct HeldOf<P, true, true> { typedef HeldNibbles<P> Type; };

// One block's tile: `data` is the image, `weight` the packed B, `shared` G::SHARED bytes.
template <class G> struct Product {
  static constexpr int THREADS = G::BM / G::WM * (G::BN / G::WN) * 32;
  static constexpr int A = G::BM * DEPTH_TILE, STAGE = (G::BM + G::BN) * DEPTH_TILE;
  static constexpr int A_CHUNKS = (G::BM * CHUNKS + THREADS - 1) / THREADS;
  static constexpr int B_CHUNKS = (G::BN * CHUNKS + THREADS - 1) / THREADS;
  static constexpr int ROWS_APART = THREADS / CHUNKS;
  static constexpr int TILES = G::DEPTH_PADDED / DEPTH_TILE;
  static constexpr int BN = G::BN, CHANNELS = G::CHANNELS, ELEMENT = G::ELEMENT;
  static constexpr int ROWS_OF_B = G::DEPTH / G::ELEMENT;
  typedef typename HeldOf<Product, G::PACKED, (G::DECODED > 0)>::Type Held;

  const uint8_t *data, *weight;
  uint8_t* shared;
  int row, channel, group;
  const float* scales;

  __device__ __forceinline__ const uint8_t* weights(int number, int tile) const {
    const int r = threadIdx.x / CHUNKS + number * ROWS_APART;
    const int c = threadIdx.x % CHUNKS;
    return weight + (int64_t(group) * G::CHANNELS_PADDED + channel + r) * G::DEPTH_PADDED +
           tile * DEPTH_TILE + c * CHUNK;
  }

  // What multiplies the nibbles of a chunk of `weights`, all of one group.
  __device__ __forceinline__ float scale(int number, int tile) const {
    const int c = channel + threadIdx.x / CHUNKS + number * ROWS_APART;
    const int depth = tile * DEPTH_TILE + threadIdx.x % CHUNKS * CHUNK;
    if (c >= G::CHANNELS || depth >= G::DEPTH) return 0.0f;
    return scales[int64_t(depth / G::DECODED) * G::CHANNELS + c];
  }

  __device__ __forceinline__ bool has(int number, int rows) const {
    return rows % ROWS_APART == 0 || threadIdx.x / CHUNKS + number * ROWS_APART < rows;
  }

  __device__ __forceinline__ int at(int number) const {
    return place(threadIdx.x / CHUNKS + number * ROWS_APART, threadIdx.x % CHUNKS);
  }

  __device__ __forceinline__ Window<G> window(int number) const {
    return Window<G>(row + threadIdx.x / CHUNKS + number * ROWS_APART, group);
  }

  template <class E> __device__ __forceinline__ void run(const E& epilogue) {
    const int warp = threadIdx.x / 32, first_row = warp / (G::BN / G::WN) * G::WM;
    const int first_channel = warp % (G::BN / G::WN) * G::WN;
    Sums<G> sums(scales, channel);
    if constexpr (G::IN_BACKGROUND)
      accumulate_async(sums, first_row, first_channel);
    else
      accumulate(sums, first_row, first_channel);
    sums.end();
    __syncthreads();
    typedef typename G::Result Result;
    Result* held = reinterpret_cast<Result*>(shared) + warp * 16 * (G::WN + 8);
    sums.leave(held, epilogue, row + first_row, channel + first_channel, group);
  }

#if __CUDA_ARCH__ >= 800
  __device__ __forceinline__ void copy(int tile, int stage) const {
    uint8_t* to = shared + stage * STAGE;
    const int depth = tile * DEPTH_TILE + threadIdx.x % CHUNKS * CHUNK;
#pragma unroll
    for (int i = 0; i < A_CHUNKS; ++i)
      if (has(i, G::BM)) copy_chunk<G>(to + at(i), data, window(i), depth);
#pragma unroll
    for (int i = 0; i < B_CHUNKS; ++i)
      if (has(i, G::BN)) copy_async<CHUNK>(to + A + at(i), weights(i, tile), true);
  }

  // STAGES - 1 tiles are on their way while one is multiplied, or STAGES - 2 while two are.
  __device__ __forceinline__ void accumulate_async(Sums<G>& sums, int first_row, int first_channel) {
    constexpr int AHEAD = G::STAGES - 1 - G::IN_GROUPS;
#pragma unroll
    for (int tile = 0; tile < AHEAD; ++tile) {
      if (tile < TILES) copy(tile, tile);
      commit_copies();
    }
    for (int tile = 0; tile < TILES; ++tile) {
      wait_copies<AHEAD - 1>();
      if constexpr (G::IN_GROUPS) publish_shared();
      __syncthreads();  // the tile is there for all, and the oldest one is read by all
      if (tile + AHEAD < TILES) copy(tile + AHEAD, (tile + AHEAD) % G::STAGES);
      commit_copies();
      const uint8_t* stage = shared + tile % G::STAGES * STAGE;
      sums.add(stage, stage + A, first_row, first_channel, tile);
    }
    wait_copies<0>();
  }
#endif

  // Two stages: a tile waits in registers while the one before it is multiplied.
  __device__ __forceinline__ void accumulate(Sums<G>& sums, int first_row, int first_channel) {
    uint4 a[A_CHUNKS];
    Held b;
    fetch(a, b, 0);
    put(a, b, 0);
    for (int tile = 0; tile < TILES; ++tile) {
      __syncthreads();
      if (tile + 1 < TILES) fetch(a, b, tile + 1);
      const uint8_t* stage = shared + tile % 2 * STAGE;
      sums.add(stage, stage + A, first_row, first_channel, tile);
      if (tile + 1 < TILES) put(a, b, (tile + 1) % 2);
    }
  }

  __device__ __forceinline__ void fetch(uint4 (&a)[A_CHUNKS], Held& b, int tile) const {
    const int depth = tile * DEPTH_TILE + threadIdx.x % CHUNKS * CHUNK;
#pragma unroll
    for (int i = 0; i < A_CHUNKS; ++i)
      if (has(i, G::BM)) a[i] = chunk_of<G>(data, window(i), depth);
    b.fetch(*this, tile);
  }

  __device__ __forceinline__ void put(const uint4 (&a)[A_CHUNKS], const Held& b, int number) const {
    uint8_t* to = shared + number * STAGE;
#pragma unroll
    for (int i = 0; i < A_CHUNKS; ++i)
      if (has(i, G::BM)) *reinterpret_cast<uint4*>(to + at(i)) = a[i];
    b.put(*this, to + A);
    if constexpr (G::IN_GROUPS) publish_shared();
  }
};

template <class G, class E>
__device__ __forceinline__ void product(const void* data, const void* weight, const E& epilogue,
                                        void* shared, const void* scales = nullptr) {
  constexpr int ACROSS = G::CHANNELS_PADDED / G::BN, DOWN = (G::ROWS + G::BM - 1) / G::BM;
  const int tile = blockIdx.x % (ACROSS * DOWN);
  // The order of chunks goes by addresses where tensor cores know it.
  uint8_t* tiles = static_cast<uint8_t*>(shared);
  if constexpr (G::IN_GROUPS) tiles += -shared_address(shared) % SWIZZLED;
  Product<G> block{static_cast<const uint8_t*>(data), static_cast<const uint8_t*>(weight),
                   tiles, tile / ACROSS * G::BM, tile % ACROSS * G::BN,
                   int(blockIdx.x) / (ACROSS * DOWN), static_cast<const float*>(scales)};
  block.run(epilogue);
}

}  // namespace hago
