// Elementwise expressions, tables and permutations: a thread has a few neighbouring elements.
#pragma once
#include "hago/vector.cuh"

namespace hago {

// G: ROWS x CHANNELS elements of G::Data, LANES of them a thread, which divide CHANNELS.
template <class G, class E>
__device__ __forceinline__ void elementwise(const void* data, const E& epilogue) {
  constexpr int ACROSS = G::CHANNELS / G::LANES;
  const int64_t item = int64_t(blockIdx.x) * G::THREADS + threadIdx.x;
  if (item >= int64_t(G::ROWS) * ACROSS) return;
  typename G::Data values[G::LANES];
  load<G::LANES>(values, static_cast<const typename G::Data*>(data) + item * G::LANES);
  epilogue(values, int(item / ACROSS), int(item % ACROSS) * G::LANES);
}

// G: the same; the table of 256 entries of G::Entry starts with the lowest code's.
template <class G, class E>
__device__ __forceinline__ void look_up(const void* data, const void* table, const E& epilogue,
                                        void* shared) {
  typedef typename G::Entry Entry;
  constexpr int ACROSS = G::CHANNELS / G::LANES;
  Entry* entries = static_cast<Entry*>(shared);
  for (int i = threadIdx.x; i < 256; i += G::THREADS)
    entries[i] = static_cast<const Entry*>(table)[i];
  __syncthreads();
  const int64_t item = int64_t(blockIdx.x) * G::THREADS + threadIdx.x;
  if (item >= int64_t(G::ROWS) * ACROSS) return;
  typename G::Data codes[G::LANES];
  load<G::LANES>(codes, static_cast<const typename G::Data*>(data) + item * G::LANES);
  Entry found[G::LANES];
#pragma unroll
  for (int i = 0; i < G::LANES; ++i) found[i] = entries[int(codes[i]) - G::LOWEST];
  epilogue(found, int(item / ACROSS), int(item % ACROSS) * G::LANES);
}

// G: out[row, channel] is the element at G::source(row) + channel * G::PITCH.
template <class G, class E>
__device__ __forceinline__ void gather(const void* data, const E& epilogue) {
  constexpr int ACROSS = G::CHANNELS / G::LANES;
  const int64_t item = int64_t(blockIdx.x) * G::THREADS + threadIdx.x;
  if (item >= int64_t(G::ROWS) * ACROSS) return;
  const int row = int(item / ACROSS), channel = int(item % ACROSS) * G::LANES;
  typename G::Data values[G::LANES];
  const typename G::Data* from =
      static_cast<const typename G::Data*>(data) + G::source(row) + int64_t(channel) * G::PITCH;
  if constexpr (G::PITCH == 1) {
    load<G::LANES>(values, from);
  } else {
#pragma unroll
    for (int i = 0; i < G::LANES; ++i) values[i] = from[int64_t(i) * G::PITCH];
  }
  epilogue(values, row, channel);
}

// G: as for gather, where rows along one axis of the output (WIDTH of them, ROW_PITCH rows apart)
// are neighbours in memory: squares of 32 x 32 are turned in shared memory. A block has 32 x 8
// threads; G::first(batch) is the first row of a plane.
template <class G, class E>
__device__ __forceinline__ void transpose(const void* data, const E& epilogue, void* shared) {
  typedef typename G::Data Data;
  constexpr int SIDE = 32, STEP = 8, PITCH = SIDE + 4 / int(sizeof(Data) < 4 ? sizeof(Data) : 4);
  constexpr int ACROSS = (G::CHANNELS + SIDE - 1) / SIDE, DOWN = (G::WIDTH + SIDE - 1) / SIDE;
  Data* square = static_cast<Data*>(shared);
  const int tile = blockIdx.x % (ACROSS * DOWN), plane = blockIdx.x / (ACROSS * DOWN);
  const int x = tile / ACROSS * SIDE, y = tile % ACROSS * SIDE;  // along WIDTH, along channels
  const int lane = threadIdx.x % SIDE, first = threadIdx.x / SIDE, row = G::first(plane);
  const Data* from = static_cast<const Data*>(data) + G::source(row);
#pragma unroll
  for (int i = first; i < SIDE; i += STEP)
    if (x + lane < G::WIDTH && y + i < G::CHANNELS)
      square[i * PITCH + lane] = from[int64_t(y + i) * G::PITCH + x + lane];
  __syncthreads();
#pragma unroll
  for (int i = first; i < SIDE; i += STEP)
    if (x + i < G::WIDTH && y + lane < G::CHANNELS) {
      Data value[1] = {square[lane * PITCH + i]};
      epilogue(value, row + (x + i) * G::ROW_PITCH, y + lane);
    }
}

}  // namespace hago
