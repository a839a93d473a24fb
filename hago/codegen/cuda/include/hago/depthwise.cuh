// Depthwise convolutions: a thread has a few neighbouring channels of a few neighbouring pixels.
#pragma once
#include "hago/vector.cuh"

namespace hago {

// What a thread computes: OUTPUTS pixels of row `row` from `ox` on, channels from `channel` on.
template <class G> struct Strip {
  static constexpr int ACROSS = G::CHANNELS / G::LANES;
  static constexpr int ALONG = (G::OUT_W + G::OUTPUTS - 1) / G::OUTPUTS;
  bool inside;
  int row, ox, channel, y, x;
  int64_t image;

  __device__ __forceinline__ Strip() {
    const int64_t item = int64_t(blockIdx.x) * G::THREADS + threadIdx.x;
    inside = item < int64_t(G::ROWS) * ALONG * ACROSS;
    channel = int(item % ACROSS) * G::LANES;
    ox = int(item / ACROSS % ALONG) * G::OUTPUTS;
    row = int(item / ACROSS / ALONG);
    y = row % G::OUT_H * G::STRIDE_H - G::TOP;
    x = ox * G::STRIDE_W - G::LEFT;
    image = int64_t(row / G::OUT_H) * G::IN_H;
  }

  // Where pixel (dy, dx) of the window lies; false outside of the image.
  __device__ __forceinline__ bool find(int dy, int dx, int64_t& at) const {
    const int py = y + dy, px = x + dx;
    at = ((image + py) * G::IN_W + px) * G::CHANNELS + channel;
    return unsigned(py) < unsigned(G::IN_H) && unsigned(px) < unsigned(G::IN_W);
  }

  template <class E, typename Sum>
  __device__ __forceinline__ void leave(const Sum (&sums)[G::OUTPUTS][G::LANES],
                                        const E& epilogue) const {
#pragma unroll
    for (int p = 0; p < G::OUTPUTS; ++p)
      if (ox + p < G::OUT_W) epilogue(sums[p], row * G::OUT_W + ox + p, channel);
  }
};

// Four bytes of four words each other's: byte j of turned[i] is byte i of words[j].
__device__ __forceinline__ void turn(uint32_t (&turned)[4], const uint32_t (&w)[4]) {
  const uint32_t low01 = __byte_perm(w[0], w[1], 0x5140), high01 = __byte_perm(w[0], w[1], 0x7362);
  const uint32_t low23 = __byte_perm(w[2], w[3], 0x5140), high23 = __byte_perm(w[2], w[3], 0x7362);
  turned[0] = __byte_perm(low01, low23, 0x5410);
  turned[1] = __byte_perm(low01, low23, 0x7632);
  turned[2] = __byte_perm(high01, high23, 0x5410);
  turned[3] = __byte_perm(high01, high23, 0x7632);
}

// Signed bytes by DP4A: four pixels of a row at a time, turned so that a word has one channel's.
// Weights are words of four taps, shifted to where a pixel's window begins in such a group:
// [channels / 4][KH][OUTPUTS][WORDS][4 channels].
template <class G, class E>
__device__ __forceinline__ void depthwise_dp4a(const void* data, const void* weight,
                                               const E& epilogue) {
  constexpr int PIXELS = (G::OUTPUTS - 1) * G::STRIDE_W + G::KW, GROUPS = (PIXELS + 3) / 4;
  constexpr uint32_t FILL = uint32_t(G::FILL) * 0x01010101u;
  const Strip<G> strip;
  if (!strip.inside) return;
  const uint8_t* image = static_cast<const uint8_t*>(data);
  const uint4* words = static_cast<const uint4*>(weight) +
                       int64_t(strip.channel / 4) * G::KH * G::OUTPUTS * G::WORDS;
  int sums[G::OUTPUTS][4] = {};
#pragma unroll
  for (int ky = 0; ky < G::KH; ++ky) {
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) {
      uint32_t pixels[4], channels[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        int64_t at;
        const bool is_there =
            g * 4 + j < PIXELS && strip.find(ky * G::DILATION_H, (g * 4 + j) * G::DILATION_W, at);
        pixels[j] = is_there ? *reinterpret_cast<const uint32_t*>(image + at) : FILL;
      }
      turn(channels, pixels);
#pragma unroll
      for (int p = 0; p < G::OUTPUTS; ++p) {
        const int word = g - p * G::STRIDE_W / 4;
        if (word < 0 || word * 4 >= p * G::STRIDE_W % 4 + G::KW) continue;
        const uint4 taps = words[(ky * G::OUTPUTS + p) * G::WORDS + word];
        sums[p][0] = __dp4a(int(channels[0]), int(taps.x), sums[p][0]);
        sums[p][1] = __dp4a(int(channels[1]), int(taps.y), sums[p][1]);
        sums[p][2] = __dp4a(int(channels[2]), int(taps.z), sums[p][2]);
        sums[p][3] = __dp4a(int(channels[3]), int(taps.w), sums[p][3]);
      }
    }
  }
  strip.leave(sums, epilogue);
}

// Any element type: each pixel of a row is loaded once for all outputs. Weights are
// [KH][KW][channels].
template <class G, class E>
__device__ __forceinline__ void depthwise(const void* data, const void* weight,
                                          const E& epilogue) {
  typedef typename G::Sum Sum;
  constexpr int PIXELS = (G::OUTPUTS - 1) * G::STRIDE_W + (G::KW - 1) * G::DILATION_W + 1;
  const Strip<G> strip;
  if (!strip.inside) return;
  Sum sums[G::OUTPUTS][G::LANES] = {};
#pragma unroll
  for (int ky = 0; ky < G::KH; ++ky) {
    typename G::Weight taps[G::KW][G::LANES];
#pragma unroll
    for (int kx = 0; kx < G::KW; ++kx)
      load<G::LANES>(taps[kx], static_cast<const typename G::Weight*>(weight) +
                                   (ky * G::KW + kx) * G::CHANNELS + strip.channel);
#pragma unroll
    for (int dx = 0; dx < PIXELS; ++dx) {
      typename G::Data pixel[G::LANES];
      int64_t at;
      const bool is_there = strip.find(ky * G::DILATION_H, dx, at);
#pragma unroll
      for (int i = 0; i < G::LANES; ++i) pixel[i] = typename G::Data(G::FILL);
      if (is_there) load<G::LANES>(pixel, static_cast<const typename G::Data*>(data) + at);
#pragma unroll
      for (int p = 0; p < G::OUTPUTS; ++p) {
        const int tap = dx - p * G::STRIDE_W;
        if (tap < 0 || tap % G::DILATION_W || tap / G::DILATION_W >= G::KW) continue;
#pragma unroll
        for (int i = 0; i < G::LANES; ++i)
          sums[p][i] += Widened<Sum, typename G::Data>::of(pixel[i]) *
                        Widened<Sum, typename G::Weight>::of(taps[tap / G::DILATION_W][i]);
      }
    }
  }
  strip.leave(sums, epilogue);
}

}  // namespace hago
