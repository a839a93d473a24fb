// Hopper's products of four warps: in the background, of what has been published in shared memory.
//
// Source: PTX ISA, "wgmma.mma_async", "Matrix Descriptor Format", "Async Proxy", "wgmma.fence". A
// product is computed when it is issued or when it is waited for, as chance has it. Until then its
// registers hold rubbish. It reads `published`, a copy of shared memory that only
// fence.proxy.async makes; where that is not what stores and copies have left since, it is an error:
// nothing orders the two.
#pragma once

namespace hago {

inline uint32_t shared_address(const void* pointer) {
  emulation::shared_only(pointer, "a matrix");
  return uint32_t(static_cast<const unsigned char*>(pointer) - emulation::machine().shared);
}

inline void publish_shared() {
  memcpy(emulation::machine().published, emulation::machine().shared, emulation::SHARED);
}

}  // namespace hago

namespace emulation {

inline Background& background() { return machine().warps[self().number / WARP].products; }

// 32 bytes of a row of the matrix that a descriptor describes.
inline void read_row(unsigned char (&to)[32], uint64_t matrix, int row) {
  const Machine& m = machine();
  const int start = int(matrix & 0x3fff) << 4, stride = int(matrix >> 32 & 0x3fff) << 4;
  if (matrix >> 62 != 2) return fail("rows of 64 bytes are not permuted as such");
  if (matrix >> 49 & 7 || start / 64 * 64 % 512) return fail("the pattern does not begin at 512");
  for (int byte = 0; byte < 32; byte += 16) {
    int at = start + row / 8 * stride + row % 8 * 64 + byte;
    at ^= (at >> 7 & 3) << 4;
    if (memcmp(m.shared + at, m.published + at, 16))
      fail("a product reads what no fence.proxy.async has published");
    memcpy(to + byte, m.published + at, 16);
  }
}

// All products up to now.
inline void compute(Background& background) {
  for (auto& group : background.groups) {
    for (auto& product : group) product();
    group.clear();
  }
}

// All four warps of a group issue the same.
inline void agree(Background& background, uint64_t a, uint64_t b) {
  auto& issued = machine().issued[self().number / WARP / 4];
  if (background.issued == issued.size()) issued.push_back({a, b});
  if (issued[background.issued++] != std::make_pair(a, b)) fail("warps of a group differ");
}

}  // namespace emulation

namespace hago {

inline void publish_sums() {
  emulation::together("wgmma.fence", nullptr, [](void**, int) {
    emulation::background().ordered = true;
  });
}

inline void commit_products() {
  emulation::together("wgmma.commit_group", nullptr, [](void**, int) {
    emulation::background().groups.emplace_back();
  });
}

template <int N> inline void wait_products() {
  emulation::together("wgmma.wait_group", nullptr, [](void**, int) {
    auto& background = emulation::background();
    auto& groups = background.groups;
    while (int(groups.size()) - 1 > N) {
      for (auto& product : groups.front()) product();
      groups.erase(groups.begin());
    }
    if (groups.size() > 1 || !groups.front().empty()) return;
    for (auto& registers : background.sums) registers.second.second(registers.second.first.data());
    background.sums.clear();
    background.ordered = false;
  });
}

template <typename T>
inline auto dot_in_group(T type, typename T::Sum c, const unsigned char* row,
                         const unsigned char* column) {
  return dot(type, c, row, column);
}
inline float dot_in_group(E4M3, float c, const unsigned char* row, const unsigned char* column) {
  return short_dot(c, row, column);
}

// PTX ISA, "Register Fragments and Shared Memory Matrix Layouts" of wgmma, figure of D: warp w has rows
// 16 w .. + 15, lane l rows l / 4 and + 8 of them, columns 2 (l % 4) and + 1 of each eight.
template <typename T, int N>
inline void multiply_group(T type, typename T::Sum (&c)[N][4], uint64_t a, uint64_t b) {
  using namespace emulation;
  typedef typename T::Sum Sum;
  struct Given { Sum* c; uint64_t a, b; };
  Given mine{&c[0][0], a, b};
  together("wgmma.mma_async", &mine, [=](void** given, int size) {
    Background& warp = background();
    auto* first = static_cast<Given*>(given[0]);
    std::vector<Sum*> registers;
    for (int l = 0; l < size; ++l) registers.push_back(static_cast<Given*>(given[l])->c);
    if (size != WARP || !warp.ordered) fail("sums are not ordered by wgmma.fence");
    agree(warp, first->a, first->b);
    const bool is_new = !warp.sums.count(first->c);
    auto& held = warp.sums[first->c];
    if (is_new) {
      for (Sum* each : registers) held.first.insert(held.first.end(), each, each + N * 4);
      held.second = [=](const double* sums) {
        for (int i = 0; i < WARP * N * 4; ++i) registers[i / (N * 4)][i % (N * 4)] = Sum(sums[i]);
      };
      for (Sum* each : registers) memset(each, RUBBISH, N * 4 * sizeof(Sum));
    }
    ++machine().instructions;
    const int top = self().number / WARP % 4 * 16;
    double* sums = held.first.data();
    warp.groups.back().push_back([=] {
      unsigned char rows[16][32], columns[N * 8][32];
      for (int r = 0; r < 16; ++r) read_row(rows[r], a, top + r);
      for (int n = 0; n < N * 8; ++n) read_row(columns[n], b, n);
      for (int i = 0; i < WARP * N * 4; ++i) {
        const int l = i / (N * 4), n = i / 4 % N, q = i % 4;
        sums[i] = dot_in_group(type, Sum(sums[i]), rows[l / 4 + q / 2 * 8],
                               columns[n * 8 + l % 4 * 2 + q % 2]);
      }
    });
    if (drawn() % 2) compute(warp);
  });
}

}  // namespace hago
