// Rows of an implicit matrix: what windows of an NHWC image cover, in chunks of shared memory.
#pragma once
#include "hago/wgmma.cuh"
#include "hago/vector.cuh"

namespace hago {

constexpr int DEPTH_TILE = 64, CHUNK = 16, CHUNKS = DEPTH_TILE / CHUNK;

// Where chunk `chunk` of row `row` of a tile lies: eight rows at one chunk fill all banks.
__device__ __forceinline__ int place(int row, int chunk) {
  return row * DEPTH_TILE + ((chunk ^ ((row >> 1) & 3)) * CHUNK);
}

// The pixel at which the window of an output begins.
template <class G> struct Window {
  int offset, y, x;
  bool inside;

  __device__ __forceinline__ Window(int row, int group) : inside(row < G::ROWS) {
    int ox = row % G::OUT_W, rest = row / G::OUT_W;
    int oy = rest % G::OUT_H, image = rest / G::OUT_H;
    y = oy * G::STRIDE_H - G::TOP;
    x = ox * G::STRIDE_W - G::LEFT;
    offset = ((image * G::IN_H + y) * G::IN_W + x) * G::PIXEL + group * G::GROUP_PITCH;
  }

  // The element at byte `depth` of this row: its offset in the image, and whether it is there.
  __device__ __forceinline__ bool find(int depth, int& at) const {
    int tap = G::TAPS == 1 ? 0 : depth / G::RUN, in_tap = G::TAPS == 1 ? depth : depth % G::RUN;
    int dy = tap / G::TAPS_W * G::DILATION_H, dx = tap % G::TAPS_W * G::DILATION_W;
    at = offset + (dy * G::IN_W + dx) * G::PIXEL + in_tap;
    if (!G::PADDED) return inside && depth < G::DEPTH;
    return inside && depth < G::DEPTH && unsigned(y + dy) < unsigned(G::IN_H) &&
           unsigned(x + dx) < unsigned(G::IN_W);
  }
};

// PIECE bytes of padding. What they stand for outside of A meets weights of zero, or goes nowhere.
template <class G> __device__ __forceinline__ typename Word<G::PIECE>::Type padding_of() {
  union { typename Word<G::PIECE>::Type piece; uint8_t bytes[G::PIECE]; } filled;
#pragma unroll
  for (int i = 0; i < G::PIECE; ++i) filled.bytes[i] = G::FILL;
  return filled.piece;
}

// PIECE bytes that lie together: the largest power of two that divides every run.
template <class G>
__device__ __forceinline__ typename Word<G::PIECE>::Type piece_of(
    const uint8_t* data, const Window<G>& window, int depth) {
  typedef typename Word<G::PIECE>::Type Piece;
  int at;
  return window.find(depth, at) ? *reinterpret_cast<const Piece*>(data + at) : padding_of<G>();
}

// A chunk of what a row covers in the image, in registers.
template <class G>
__device__ __forceinline__ uint4 bytes_of(const uint8_t* data, const Window<G>& window, int depth) {
  union { uint4 chunk; typename Word<G::PIECE>::Type pieces[CHUNK / G::PIECE]; } held;
#pragma unroll
  for (int i = 0; i < CHUNK / G::PIECE; ++i)
    held.pieces[i] = piece_of<G>(data, window, depth + i * G::PIECE);
  return held.chunk;
}

// The lower nibbles of eight bytes.
__device__ __forceinline__ uint32_t nibbles_of(uint32_t low, uint32_t high) {
  low &= 0x0f0f0f0fu, high &= 0x0f0f0f0fu;
  return __byte_perm(low | low >> 4, high | high >> 4, 0x6420);
}

// A chunk of a row of A, in registers: bytes of the image, or the nibbles of twice as many.
template <class G>
__device__ __forceinline__ uint4 chunk_of(const uint8_t* data, const Window<G>& window, int depth) {
  if constexpr (!G::NIBBLES) {
    return bytes_of<G>(data, window, depth);
  } else {
    const uint4 low = bytes_of<G>(data, window, 2 * depth);
    const uint4 high = bytes_of<G>(data, window, 2 * depth + CHUNK);
    return {nibbles_of(low.x, low.y), nibbles_of(low.z, low.w), nibbles_of(high.x, high.y),
            nibbles_of(high.z, high.w)};
  }
}

// The same straight to shared memory, in the background where an instruction can.
template <class G>
__device__ __forceinline__ void copy_chunk(uint8_t* to, const uint8_t* data,
                                           const Window<G>& window, int depth) {
#if __CUDA_ARCH__ >= 800
  if constexpr (G::PIECE >= 4) {
    typedef typename Word<G::PIECE>::Type Piece;
#pragma unroll
    for (int i = 0; i < CHUNK / G::PIECE; ++i) {
      int at;
      bool valid = window.find(depth + i * G::PIECE, at);
      // A copy leaves zeros for what is not there. Another code is stored: the barrier in front of
      // the product waits for stores as well as for copies.
      if (valid || G::FILL == 0)
        copy_async<G::PIECE>(to + i * G::PIECE, data + (valid ? at : 0), valid);
      else
        *reinterpret_cast<Piece*>(to + i * G::PIECE) = padding_of<G>();
    }
    return;
  }
#endif
  *reinterpret_cast<uint4*>(to) = chunk_of<G>(data, window, depth);
}

}  // namespace hago
