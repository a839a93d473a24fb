// 8-bit floats as TVM's text in front of kernels names them; kernels themselves have their bits.
#pragma once
struct __nv_fp8_e4m3 { uint8_t __x; };
struct __nv_fp8x2_e4m3 { uint16_t __x; };
struct __nv_fp8x4_e4m3 { uint32_t __x; };
struct __nv_fp8_e5m2 { uint8_t __x; };
struct __nv_fp8x2_e5m2 { uint16_t __x; };
struct __nv_fp8x4_e5m2 { uint32_t __x; };
struct __nv_fp8_e8m0 { uint8_t __x; };
struct __nv_fp8x2_e8m0 { uint16_t __x; };
struct __nv_fp8x4_e8m0 { uint32_t __x; };
