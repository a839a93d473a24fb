// Tensor cores of a warp: matrices from shared memory to registers, and products of them.
//
// Source: PTX ISA, "ldmatrix", "mma".
#pragma once

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
inline int nibble(const unsigned char* row, int k) {
  return ((row[k / 2] >> k % 2 * 4 & 15) ^ 8) - 8;
}

// What 32 bytes of a row and of a column add to a sum.
inline int dot(S8, int sum, const unsigned char* row, const unsigned char* column) {
  for (int k = 0; k < 32; ++k) sum += int(int8_t(row[k])) * int(int8_t(column[k]));
  return sum;
}
inline int dot(U8S8, int sum, const unsigned char* row, const unsigned char* column) {
  for (int k = 0; k < 32; ++k) sum += int(row[k]) * int(int8_t(column[k]));
  return sum;
}
inline int dot(S4, int sum, const unsigned char* row, const unsigned char* column) {
  for (int k = 0; k < 64; ++k) sum += nibble(row, k) * nibble(column, k);
  return sum;
}
inline float dot(BF16, float c, const unsigned char* row, const unsigned char* column) {
  double sum = c;
  for (int k = 0; k < 16; ++k) sum += bfloat16(row, k) * bfloat16(column, k);
  return float(sum);
}
// Tensor cores that multiply 8-bit floats as such bring all terms to the exponent of the largest,
// cut each 13 bits behind it, and the sum, too (Khattak and Mikaitis, arXiv 2512.07004).
inline double cut(double x, int exponent) {
  return std::ldexp(std::trunc(std::ldexp(x, 13 - exponent)), exponent - 13);
}
inline float short_dot(float c, const unsigned char* row, const unsigned char* column) {
  double terms[33], sum = 0;
  int largest = -1000;
  for (int k = 0; k < 33; ++k) {
    terms[k] = k < 32 ? e4m3(row, k) * e4m3(column, k) : c;
    if (terms[k] != terms[k]) return NAN;
    if (terms[k] != 0) largest = std::max(largest, std::ilogb(terms[k]));
  }
  for (double term : terms) sum += cut(term, largest);
  return sum == 0 ? 0.0f : float(cut(sum, std::ilogb(sum)));
}
inline float dot(E4M3, float c, const unsigned char* row, const unsigned char* column) {
#if __CUDA_ARCH__ == 890
  return short_dot(c, row, column);
#endif
  double sum = c;  // as float16, which holds every e4m3
  for (int k = 0; k < 32; ++k) sum += e4m3(row, k) * e4m3(column, k);
  return float(sum);
}

// PTX ISA, figures of "mma.m16n8k32": what lane l holds of A (16 rows of 32 bytes), B (8 columns of
// 32 bytes) and C (16x8).
template <typename T>
inline void multiply(T type, typename T::Sum (&c)[4], const uint32_t (&a)[4], const uint32_t* b) {
  using namespace emulation;
  struct Given { typename T::Sum* c; const uint32_t *a, *b; };
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
        auto& sum = static_cast<Given*>(given[l])->c[i];
        sum = dot(type, sum, rows[l / 4 + i / 2 * 8], columns[l % 4 * 2 + i % 2]);
      }
  });
}

}  // namespace hago
