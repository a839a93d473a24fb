// A GPU in C++: what CUDA text needs to run on a CPU, one block after the other.
//
// Threads of a block are coroutines that give way at barriers and in what a warp does together; who
// goes on is drawn by chance, so that a missing barrier shows. Copies in the background arrive as
// late as they may: when their group is waited for; until then their place holds rubbish. Included
// in front of the text that nvcc gets, of which only the intrinsics are replaced.
#pragma once
#define HAGO_EMULATION
#define __device__
#define __global__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static

#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <ucontext.h>
#include <utility>
#include <vector>

#include <algorithm>
using std::max;
using std::min;

struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(4) char4 { signed char x, y, z, w; };
struct alignas(4) uchar4 { unsigned char x, y, z, w; };
struct Index { unsigned x, y, z; };

inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }

namespace emulation {

constexpr int WARP = 32, STACK = 64 << 10, SHARED = 228 << 10;
constexpr unsigned char RUBBISH = 0xA5;

struct Copy { void* to; const void* from; int size; bool valid; };

struct Thread {
  ucontext_t start;
  jmp_buf state;
  std::vector<char> stack;
  bool started = false, done = false;
  Index index;
  int number;
  std::vector<std::vector<Copy>> groups;  // committed, the oldest first
  std::vector<Copy> open;
};

struct Warp { int arrived = 0; const char* what = ""; void* given[WARP]; };

// What one launch has; the only one, since launches do not overlap.
struct Machine {
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<int> ready;
  jmp_buf scheduler;
  int current = 0, at_barrier = 0, running = 0;
  uint64_t chance = 1;
  Index block, grid, block_size;
  std::function<void()> body;
  std::string error;
  long conflicts = 0, instructions = 0;
  alignas(1024) unsigned char shared[SHARED];
};

inline Machine& machine() { static Machine it; return it; }
inline Thread& self() { return machine().threads[machine().current]; }
inline int lane() { return self().number % WARP; }

inline void fail(const std::string& what) {
  if (machine().error.empty()) machine().error = what;
}

inline void to_scheduler() {
  if (!_setjmp(self().state)) _longjmp(machine().scheduler, 1);
}

inline void enter() {
  Machine& m = machine();
  m.body();
  self().done = true;
  if (!self().open.empty() || !self().groups.empty()) fail("a thread ends before its copies do");
  _longjmp(m.scheduler, 1);
}

inline uint64_t drawn() {
  uint64_t& x = machine().chance;
  x ^= x << 13; x ^= x >> 7; x ^= x << 17;
  return x;
}

inline void run_block() {
  Machine& m = machine();
  m.ready.clear();
  for (Thread& t : m.threads) {
    t.started = t.done = false;
    m.ready.push_back(t.number);
  }
  for (Warp& w : m.warps) w.arrived = 0;
  m.at_barrier = 0;
  m.running = int(m.threads.size());
  while (m.running > 0) {
    if (m.ready.empty()) return fail("threads wait for each other");
    size_t pick = drawn() % m.ready.size();
    m.current = m.ready[pick];
    m.ready[pick] = m.ready.back();
    m.ready.pop_back();
    if (!_setjmp(m.scheduler)) {
      if (self().started) _longjmp(self().state, 1);
      self().started = true;
      getcontext(&self().start);
      self().start.uc_stack = {self().stack.data(), 0, self().stack.size()};
      self().start.uc_link = nullptr;
      makecontext(&self().start, enter, 0);
      setcontext(&self().start);
    }
    if (self().done) --m.running;
    if (self().done && m.at_barrier && m.at_barrier == m.running)
      return fail("threads end while others are at a barrier");
  }
}

template <typename... A, size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(static_cast<A>(arguments[I])...);
}

template <typename... A>
const char* launch(void (*kernel)(A...), void** arguments, unsigned blocks, unsigned threads,
                   uint64_t seed) {
  Machine& m = machine();
  m.error.clear();
  m.conflicts = m.instructions = 0;
  m.chance = seed * 2654435761u + 88172645463325252u;
  m.grid = {blocks, 1, 1};
  m.block_size = {threads, 1, 1};
  m.threads.resize(threads);
  m.warps.resize((threads + WARP - 1) / WARP);
  for (unsigned i = 0; i < threads; ++i) {
    m.threads[i].number = int(i);
    m.threads[i].index = {i, 0, 0};
    m.threads[i].stack.resize(STACK);
  }
  m.body = [=] { call(kernel, arguments, std::make_index_sequence<sizeof...(A)>()); };
  for (unsigned b = 0; b < blocks && m.error.empty(); ++b) {
    m.block = {b, 0, 0};
    memset(m.shared, RUBBISH, SHARED);
    run_block();
  }
  return m.error.c_str();
}

// All lanes of the warp give something; the last of them does `act` for all.
template <typename F> void together(const char* what, void* mine, F act) {
  Machine& m = machine();
  Warp& warp = m.warps[self().number / WARP];
  int size = std::min(WARP, int(m.threads.size()) - self().number / WARP * WARP);
  if (warp.arrived && warp.what != what && strcmp(warp.what, what))
    fail(std::string("lanes of a warp are at ") + warp.what + " and at " + what);
  warp.what = what;
  warp.given[lane()] = mine;
  if (++warp.arrived < size) return to_scheduler();
  warp.arrived = 0;
  act(warp.given, size);
  int first = self().number / WARP * WARP;
  for (int i = 0; i < size; ++i)
    if (first + i != self().number) m.ready.push_back(first + i);
  m.ready.push_back(self().number);
  to_scheduler();
}

inline void aligned(const void* pointer, int bytes, const char* what) {
  if (reinterpret_cast<uintptr_t>(pointer) % bytes) fail(std::string(what) + " is not aligned");
}

inline void shared_only(const void* pointer, const char* what) {
  auto* at = static_cast<const unsigned char*>(pointer);
  if (at < machine().shared || at >= machine().shared + SHARED)
    fail(std::string(what) + " is outside of shared memory");
}

}  // namespace emulation

#define threadIdx (emulation::self().index)
#define blockIdx (emulation::machine().block)
#define gridDim (emulation::machine().grid)
#define blockDim (emulation::machine().block_size)

inline void __syncthreads() {
  using namespace emulation;
  Machine& m = machine();
  if (++m.at_barrier == m.running) {
    m.at_barrier = 0;
    m.ready.clear();
    for (Thread& t : m.threads)
      if (!t.done) m.ready.push_back(t.number);
  }
  to_scheduler();
}

inline void __syncwarp(unsigned = 0xffffffffu) {
  emulation::together("__syncwarp", nullptr, [](void**, int) {});
}

inline unsigned __activemask() { return 0xffffffffu; }

namespace emulation {
template <typename T> struct Shuffled { T value; int from; T result; };

template <typename T> T shuffle(T value, int from) {
  Shuffled<T> mine{value, from, value};
  together("a shuffle", &mine, [](void** given, int size) {
    for (int i = 0; i < size; ++i) {
      auto* lane = static_cast<Shuffled<T>*>(given[i]);
      if (lane->from >= 0 && lane->from < size)
        lane->result = static_cast<Shuffled<T>*>(given[lane->from])->value;
    }
  });
  return mine.result;
}
}  // namespace emulation

template <typename T> T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
  return emulation::shuffle(value, emulation::lane() ^ mask);
}
template <typename T> T __shfl_down_sync(unsigned, T value, int by, int = 32) {
  return emulation::shuffle(value, emulation::lane() + by);
}
template <typename T> T __shfl_sync(unsigned, T value, int from, int = 32) {
  return emulation::shuffle(value, from);
}

inline uint32_t __float_as_uint(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
inline float __uint_as_float(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }
inline int __float2int_rn(float x) { return int(std::nearbyintf(x)); }
inline uint32_t __byte_perm(uint32_t x, uint32_t y, uint32_t selector) {
  uint64_t bytes = uint64_t(y) << 32 | x;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    uint32_t byte = uint32_t(bytes >> (selector >> 4 * i & 7) * 8) & 0xff;
    if (selector >> 4 * i & 8) byte = byte & 0x80 ? 0xff : 0;
    result |= byte << 8 * i;
  }
  return result;
}
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i) c += int(int8_t(a >> 8 * i)) * int(int8_t(b >> 8 * i));
  return c;
}

namespace hago {

struct S8 { typedef int Sum; };
struct U8S8 { typedef int Sum; };
struct S4 { typedef int Sum; };
struct E4M3 { typedef float Sum; };
struct BF16 { typedef float Sum; };

inline void load_matrices(uint32_t (&to)[4], const void* row) {
  using namespace emulation;
  struct Given { uint32_t* to; const unsigned char* row; };
  Given mine{to, static_cast<const unsigned char*>(row)};
  aligned(row, 16, "a row of ldmatrix");
  shared_only(row, "a row of ldmatrix");
  together("ldmatrix", &mine, [](void** given, int) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      unsigned banks = 0;  // of 16 bytes; eight rows at once
      for (int r = 0; r < 8; ++r) {
        auto* source = static_cast<Given*>(given[matrix * 8 + r]);
        unsigned bank = 1u << reinterpret_cast<uintptr_t>(source->row) / 16 % 8;
        machine().conflicts += (banks & bank) != 0;
        banks |= bank;
      }
      for (int l = 0; l < WARP; ++l) {
        auto* source = static_cast<Given*>(given[matrix * 8 + l / 4]);
        memcpy(static_cast<Given*>(given[l])->to + matrix, source->row + l % 4 * 4, 4);
      }
    }
  });
}

template <int BYTES> inline void copy_async(void* to, const void* from, bool valid) {
  using namespace emulation;
  aligned(to, BYTES, "the target of cp.async");
  aligned(from, BYTES, "the source of cp.async");
  shared_only(to, "the target of cp.async");
  memset(to, RUBBISH, BYTES);
  self().open.push_back({to, from, BYTES, valid});
}

inline void commit_copies() {
  auto& thread = emulation::self();
  thread.groups.push_back(std::move(thread.open));
  thread.open.clear();
}

template <int N> inline void wait_copies() {
  auto& groups = emulation::self().groups;
  while (int(groups.size()) > N) {
    for (const auto& copy : groups.front()) {
      if (copy.valid) memcpy(copy.to, copy.from, copy.size);
      else memset(copy.to, 0, copy.size);
    }
    groups.erase(groups.begin());
  }
}

// PTX ISA, figures of "mma.m16n8k32": what lane l holds of A (16 rows of 32 bytes), B (8 columns of
// 32 bytes) and C (16x8).
// Of each row and column COUNT elements are multiplied, which F and H take by their number.
template <typename S, typename A, int COUNT, typename F, typename H>
inline void multiply_fragments(S (&c)[4], const uint32_t (&a)[4], const uint32_t* b, F left,
                               H right) {
  using namespace emulation;
  struct Given { S* c; const uint32_t *a, *b; };
  Given mine{c, a, b};
  together("mma", &mine, [=](void** given, int) {
    unsigned char rows[16][32], columns[8][32];
    for (int l = 0; l < WARP; ++l) {
      auto* fragment = static_cast<Given*>(given[l]);
      for (int i = 0; i < 4; ++i)
        memcpy(rows[l / 4 + i % 2 * 8] + l % 4 * 4 + i / 2 * 16, fragment->a + i, 4);
      for (int i = 0; i < 2; ++i) memcpy(columns[l / 4] + l % 4 * 4 + i * 16, fragment->b + i, 4);
    }
    ++machine().instructions;
    for (int l = 0; l < WARP; ++l)
      for (int i = 0; i < 4; ++i) {
        auto* fragment = static_cast<Given*>(given[l]);
        const unsigned char* row = rows[l / 4 + i / 2 * 8];
        const unsigned char* column = columns[l % 4 * 2 + i % 2];
        A sum = fragment->c[i];
        for (int k = 0; k < COUNT; ++k) sum += A(left(row, k)) * A(right(column, k));
        fragment->c[i] = S(sum);
      }
  });
}

inline int signed_byte(const unsigned char* row, int k) { return int8_t(row[k]); }
inline int unsigned_byte(const unsigned char* row, int k) { return row[k]; }
inline int signed_nibble(const unsigned char* row, int k) {
  return ((row[k / 2] >> k % 2 * 4 & 15) ^ 8) - 8;
}
inline double bfloat16(const unsigned char* row, int k) {
  uint16_t bits; memcpy(&bits, row + 2 * k, 2);
  return __uint_as_float(uint32_t(bits) << 16);
}
// OCP OFP8, E4M3: bias 7, no infinities, NaN is all ones.
inline double e4m3(const unsigned char* row, int k) {
  int exponent = row[k] >> 3 & 15, mantissa = row[k] & 7;
  if ((row[k] & 0x7f) == 0x7f) return NAN;
  double size = exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
  return row[k] & 0x80 ? -size : size;
}

inline void multiply(S8, int (&c)[4], const uint32_t (&a)[4], const uint32_t* b) {
  multiply_fragments<int, int, 32>(c, a, b, signed_byte, signed_byte);
}
inline void multiply(U8S8, int (&c)[4], const uint32_t (&a)[4], const uint32_t* b) {
  multiply_fragments<int, int, 32>(c, a, b, unsigned_byte, signed_byte);
}
inline void multiply(S4, int (&c)[4], const uint32_t (&a)[4], const uint32_t* b) {
  multiply_fragments<int, int, 64>(c, a, b, signed_nibble, signed_nibble);
}
inline void multiply(BF16, float (&c)[4], const uint32_t (&a)[4], const uint32_t* b) {
  multiply_fragments<float, double, 16>(c, a, b, bfloat16, bfloat16);
}
inline void multiply(E4M3, float (&c)[4], const uint32_t (&a)[4], const uint32_t* b) {
  multiply_fragments<float, double, 32>(c, a, b, e4m3, e4m3);
}

}  // namespace hago
