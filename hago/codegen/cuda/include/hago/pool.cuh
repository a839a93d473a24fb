// Maxima and sums over windows of NHWC images, LANES channels a thread.
//
// What lies outside of the image does not take part. Where windows are large and few (the mean of
// an image), SLICES threads share one, and their parts meet in shared memory.
#pragma once
#include "hago/vector.cuh"

namespace hago {

template <class G> struct Largest {
  static __device__ __forceinline__ typename G::Sum join(typename G::Sum a, typename G::Sum b) {
    return a > b ? a : b;
  }
};
template <class G> struct Total {
  static __device__ __forceinline__ typename G::Sum join(typename G::Sum a, typename G::Sum b) {
    return a + b;
  }
};

// The part of a window that one slice has: positions slice, slice + SLICES, ..
template <class G, class Join>
__device__ __forceinline__ void window_part(typename G::Sum (&sums)[G::LANES],
                                            const typename G::Data* data, int row, int channel,
                                            int slice) {
  const int ox = row % G::OUT_W, rest = row / G::OUT_W;
  const int y0 = rest % G::OUT_H * G::STRIDE_H - G::TOP, x0 = ox * G::STRIDE_W - G::LEFT;
  const int64_t image = int64_t(rest / G::OUT_H) * G::IN_H;
  for (int place = slice; place < G::WINDOW_H * G::WINDOW_W; place += G::SLICES) {
    const int y = y0 + place / G::WINDOW_W, x = x0 + place % G::WINDOW_W;
    if (G::PADDED && (unsigned(y) >= unsigned(G::IN_H) || unsigned(x) >= unsigned(G::IN_W)))
      continue;
    typename G::Data values[G::LANES];
    load<G::LANES>(values, data + ((image + y) * G::IN_W + x) * G::CHANNELS + channel);
#pragma unroll
    for (int i = 0; i < G::LANES; ++i)
      sums[i] = Join::join(sums[i], Widened<typename G::Sum, typename G::Data>::of(values[i]));
  }
}

template <class G, class Join, class E>
__device__ __forceinline__ void pool(const void* data, const E& epilogue, void* shared) {
  typedef typename G::Sum Sum;
  constexpr int ACROSS = G::CHANNELS / G::LANES, ITEMS = G::THREADS / G::SLICES;
  const int slice = threadIdx.x / ITEMS, place = threadIdx.x % ITEMS;
  const int64_t item = int64_t(blockIdx.x) * ITEMS + place;
  const bool inside = item < int64_t(G::ROWS) * ACROSS;
  const int row = int(item / ACROSS), channel = int(item % ACROSS) * G::LANES;
  Sum sums[G::LANES];
#pragma unroll
  for (int i = 0; i < G::LANES; ++i) sums[i] = G::neutral();
  if (inside)
    window_part<G, Join>(sums, static_cast<const typename G::Data*>(data), row, channel, slice);
  if constexpr (G::SLICES > 1) {
    Sum* parts = static_cast<Sum*>(shared);
#pragma unroll
    for (int i = 0; i < G::LANES; ++i) parts[(i * G::SLICES + slice) * ITEMS + place] = sums[i];
    __syncthreads();
    if (slice > 0) return;
#pragma unroll
    for (int i = 0; i < G::LANES; ++i)
      for (int other = 1; other < G::SLICES; ++other)
        sums[i] = Join::join(sums[i], parts[(i * G::SLICES + other) * ITEMS + place]);
  }
  if (inside) epilogue(sums, row, channel);
}

}  // namespace hago
