// What needs the whole of a row, in float32: WARPS warps have it in their registers.
#pragma once
#include "hago/vector.cuh"

namespace hago {

struct Maximum {
  static __device__ __forceinline__ float join(float a, float b) { return fmaxf(a, b); }
};
struct Addition {
  static __device__ __forceinline__ float join(float a, float b) { return a + b; }
};

// The join of all threads of a row, in each of them. `parts` has a place for each warp.
template <class Join, int WARPS> __device__ __forceinline__ float joined(float value, float* parts) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2)
    value = Join::join(value, __shfl_xor_sync(0xffffffffu, value, mask));
  if constexpr (WARPS > 1) {
    __syncthreads();  // what was joined before is read by all
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = parts[0];
#pragma unroll
    for (int warp = 1; warp < WARPS; ++warp) value = Join::join(value, parts[warp]);
  }
  return value;
}

// The row of a thread: COUNT pieces of LANES neighbours, THREADS pieces apart.
template <class G> struct Row {
  static constexpr int THREADS = G::WARPS * 32, STEP = THREADS * G::LANES;
  static constexpr int COUNT = (G::LENGTH + STEP - 1) / STEP;
  float values[COUNT][G::LANES];

  static __device__ __forceinline__ int first(int piece) {
    return piece * STEP + threadIdx.x % THREADS * G::LANES;
  }
  static __device__ __forceinline__ bool has(int piece) {
    return G::LENGTH % STEP == 0 || first(piece) < G::LENGTH;
  }

  __device__ __forceinline__ Row(const void* data, int number, float neutral) {
    const typename G::Data* row = static_cast<const typename G::Data*>(data);
#pragma unroll
    for (int p = 0; p < COUNT; ++p) {
#pragma unroll
      for (int i = 0; i < G::LANES; ++i) values[p][i] = neutral;
      if (number >= G::ROWS || !has(p)) continue;
      typename G::Data loaded[G::LANES];
      load<G::LANES>(loaded, row + int64_t(number) * G::LENGTH + first(p));
#pragma unroll
      for (int i = 0; i < G::LANES; ++i) values[p][i] = Widened<float, typename G::Data>::of(loaded[i]);
    }
  }

  template <class Join, class F>
  __device__ __forceinline__ float reduce(float neutral, float* parts, F of) const {
    float result = neutral;
#pragma unroll
    for (int p = 0; p < COUNT; ++p)
#pragma unroll
      for (int i = 0; i < G::LANES; ++i)
        if (has(p)) result = Join::join(result, of(values[p][i]));
    return joined<Join, G::WARPS>(result, parts);
  }
};

// Rows that a block has: as many as it has groups of WARPS warps.
template <class G> __device__ __forceinline__ int row_of_thread() {
  return blockIdx.x * (G::BLOCK_WARPS / G::WARPS) + threadIdx.x / (G::WARPS * 32);
}

// exp of what is left of each element without the largest of its row.
template <class G> __device__ __forceinline__ void less_largest(Row<G>& row, float* parts) {
  const float largest =
      row.template reduce<Maximum>(-INFINITY, parts, [](float x) { return x; });
#pragma unroll
  for (int p = 0; p < Row<G>::COUNT; ++p)
#pragma unroll
    for (int i = 0; i < G::LANES; ++i) row.values[p][i] = expf(row.values[p][i] - largest);
}

template <class G, class E>
__device__ __forceinline__ void shifted_exp(const void* data, const E& epilogue, void* shared) {
  const int number = row_of_thread<G>();
  Row<G> row(data, number, -INFINITY);
  less_largest(row, static_cast<float*>(shared));
#pragma unroll
  for (int p = 0; p < Row<G>::COUNT; ++p)
    if (number < G::ROWS && Row<G>::has(p)) epilogue(row.values[p], number, Row<G>::first(p));
}

// Sums of bytes are below 2^24: float32 has them exactly.
template <class G, class E>
__device__ __forceinline__ void sum(const void* data, const E& epilogue, void* shared) {
  const int number = row_of_thread<G>();
  Row<G> row(data, number, 0.0f);
  const float total = row.template reduce<Addition>(0.0f, static_cast<float*>(shared),
                                                    [](float x) { return x; });
  const typename G::Sum sums[1] = {typename G::Sum(total)};
  if (number < G::ROWS && threadIdx.x % Row<G>::THREADS == 0) epilogue(sums, number, 0);
}

template <class G, class E>
__device__ __forceinline__ void softmax(const void* data, const E& epilogue, void* shared) {
  const int number = row_of_thread<G>();
  float* parts = static_cast<float*>(shared);
  const bool inside = number < G::ROWS;
  Row<G> row(data, number, -INFINITY);
  less_largest(row, parts);
  const float total = row.template reduce<Addition>(0.0f, parts, [](float x) { return x; });
  const float share = 1.0f / total;
#pragma unroll
  for (int p = 0; p < Row<G>::COUNT; ++p) {
#pragma unroll
    for (int i = 0; i < G::LANES; ++i) row.values[p][i] *= share;
    if (inside && Row<G>::has(p)) epilogue(row.values[p], number, Row<G>::first(p));
  }
}

template <class G, class E>
__device__ __forceinline__ void layer_norm(const void* data, const void* gamma, const void* beta,
                                           float epsilon, const E& epilogue, void* shared) {
  const int number = row_of_thread<G>();
  float* parts = static_cast<float*>(shared);
  const bool inside = number < G::ROWS;
  Row<G> row(data, number, 0.0f);
  const float mean =
      row.template reduce<Addition>(0.0f, parts, [](float x) { return x; }) * (1.0f / G::LENGTH);
  const float squares = row.template reduce<Addition>(
      0.0f, parts, [=](float x) { return (x - mean) * (x - mean); });
  const float factor = 1.0f / sqrtf(squares * (1.0f / G::LENGTH) + epsilon);
#pragma unroll
  for (int p = 0; p < Row<G>::COUNT; ++p) {
    if (!inside || !Row<G>::has(p)) continue;
    float scale[G::LANES], shift[G::LANES];
    load<G::LANES>(scale, static_cast<const float*>(gamma) + Row<G>::first(p));
    load<G::LANES>(shift, static_cast<const float*>(beta) + Row<G>::first(p));
#pragma unroll
    for (int i = 0; i < G::LANES; ++i)
      row.values[p][i] = (row.values[p][i] - mean) * factor * scale[i] + shift[i];
    epilogue(row.values[p], number, Row<G>::first(p));
  }
}

template <class G, class E>
__device__ __forceinline__ void rms_norm(const void* data, const void* gamma, float epsilon,
                                         const E& epilogue, void* shared) {
  const int number = row_of_thread<G>();
  const bool inside = number < G::ROWS;
  Row<G> row(data, number, 0.0f);
  const float squares = row.template reduce<Addition>(0.0f, static_cast<float*>(shared),
                                                      [](float x) { return x * x; });
  const float factor = 1.0f / sqrtf(squares * (1.0f / G::LENGTH) + epsilon);
#pragma unroll
  for (int p = 0; p < Row<G>::COUNT; ++p) {
    if (!inside || !Row<G>::has(p)) continue;
    float scale[G::LANES];
    load<G::LANES>(scale, static_cast<const float*>(gamma) + Row<G>::first(p));
#pragma unroll
    for (int i = 0; i < G::LANES; ++i) row.values[p][i] *= factor * scale[i];
    epilogue(row.values[p], number, Row<G>::first(p));
  }
}

}  // namespace hago
