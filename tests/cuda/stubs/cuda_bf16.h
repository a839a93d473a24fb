// bfloat16 as TVM's text in front of kernels names it; kernels themselves have its bits.
#pragma once
struct nv_bfloat16 {
  uint16_t bits;
  nv_bfloat16() = default;
  explicit nv_bfloat16(float x) : bits(uint16_t(__float_as_uint(x) >> 16)) {}
  explicit nv_bfloat16(int x) : nv_bfloat16(float(x)) {}
};
struct nv_bfloat162 {
  nv_bfloat16 x, y;
  nv_bfloat162() = default;
  nv_bfloat162(nv_bfloat16 x, nv_bfloat16 y) : x(x), y(y) {}
};
inline float __bfloat162float(nv_bfloat16 x) { return __uint_as_float(uint32_t(x.bits) << 16); }
inline nv_bfloat16 __float2bfloat16(float x) { return nv_bfloat16(x); }
inline bool __hgt(nv_bfloat16 a, nv_bfloat16 b) { return __bfloat162float(a) > __bfloat162float(b); }
inline bool __hlt(nv_bfloat16 a, nv_bfloat16 b) { return __bfloat162float(a) < __bfloat162float(b); }
