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
#include <map>
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

constexpr int WARP = 32, STACK = 64 << 10, SHARED = 228 << 10, ALIGNED = 64;
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

// Products of a warpgroup in the background (warpgroup.h): those that remain to be computed, by
// groups, the oldest first, the last one open; sums by the registers that wait for them.
struct Background {
  std::vector<std::vector<std::function<void()>>> groups{1};
  std::map<void*, std::pair<std::vector<double>, std::function<void(const double*)>>> sums;
  bool ordered = false;  // registers are as products may find them
  size_t issued = 0;
};

struct Warp { int arrived = 0; const char* what = ""; void* given[WARP]; Background products; };

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
  alignas(1024) unsigned char shared[SHARED], published[SHARED];
  unsigned char* start;  // of the block's part, aligned no better than it says
  std::vector<std::vector<std::pair<uint64_t, uint64_t>>> issued;  // products by warpgroup
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
  if (!m.warps[self().number / WARP].products.sums.empty())
    fail("a thread ends before its products do");
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
  for (Warp& w : m.warps) w = Warp();
  m.issued.assign(m.warps.size() / 4 + 1, {});
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
    memset(m.published, RUBBISH, SHARED);
    m.start = m.shared + drawn() % 8 * ALIGNED;
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

template <int BYTES> inline void copy_async(void* to, const void* from, bool valid) {
  using namespace emulation;
  aligned(to, BYTES, "the target of cp.async");
  aligned(from, BYTES, "the source of cp.async");
  shared_only(to, "the target of cp.async");
  memset(to, RUBBISH, BYTES);
  memset(machine().published + (static_cast<unsigned char*>(to) - machine().shared), RUBBISH, BYTES);
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

}  // namespace hago

#include "tensor_cores.h"
#include "warpgroup.h"
