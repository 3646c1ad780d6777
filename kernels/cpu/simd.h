// Sixteen float lanes with the same meaning, and the same bits, on every instruction set.
//
// Included only by kernel sources that are compiled once per instruction set (kernels/cpu/isa): ECHELON_ISA names the namespace, so
// that the linker never mixes two builds of one inline function. Such sources include no other header with inline code that could
// be shared: plain data and <cstdint> only.
#pragma once

#ifndef ECHELON_ISA
#error "simd.h is for sources compiled once per instruction set: define ECHELON_ISA"
#endif

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace echelon::cpu::ECHELON_ISA {

#if defined(__AVX512F__)

struct F32x16 { __m512 v; };
struct I32x16 { __m512i v; };

static inline F32x16 zero() { return {_mm512_setzero_ps()}; }
static inline F32x16 set1(float x) { return {_mm512_set1_ps(x)}; }
static inline F32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
static inline void store(float* p, F32x16 a) { _mm512_storeu_ps(p, a.v); }
/// The first n lanes; the others are 0. 0 <= n <= 16.
static inline F32x16 load_first(const float* p, int n) {
  return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p)};
}
static inline void store_first(float* p, F32x16 a, int n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), a.v);
}
static inline F32x16 load_bf16(const uint16_t* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16))};
}
static inline F32x16 load_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
static inline F32x16 add(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
static inline F32x16 sub(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
static inline F32x16 mul(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
static inline F32x16 div(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
/// a * b + c, rounded once.
static inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
/// a > b ? a : b
static inline F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
/// a < b ? a : b
static inline F32x16 min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
static inline F32x16 abs(F32x16 a) { return {_mm512_abs_ps(a.v)}; }
/// Nearest even; |a| < 2^31.
static inline I32x16 round_to_int(F32x16 a) { return {_mm512_cvtps_epi32(a.v)}; }
static inline F32x16 to_float(I32x16 a) { return {_mm512_cvtepi32_ps(a.v)}; }
static inline void store(int32_t* p, I32x16 a) { _mm512_storeu_si512(p, a.v); }
/// Lane i: the lanes of v[i] combined by op, in an order of its own.
template <class Op>
static inline __m256i across_lanes(const __m512i (&v)[8], Op op) {
  __m512i pairs[4], quads[2];
  for (int i = 0; i < 4; ++i) {
    pairs[i] = op(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
  }
  for (int i = 0; i < 2; ++i) {
    quads[i] = op(_mm512_unpacklo_epi64(pairs[2 * i], pairs[2 * i + 1]),
                  _mm512_unpackhi_epi64(pairs[2 * i], pairs[2 * i + 1]));
  }
  const __m512i halves =
      op(_mm512_shuffle_i64x2(quads[0], quads[1], 0x44), _mm512_shuffle_i64x2(quads[0], quads[1], 0xee));
  const __m512i all = op(halves, _mm512_shuffle_i64x2(halves, halves, 0xb1));
  return _mm512_castsi512_si256(_mm512_shuffle_i64x2(all, all, 0x08));
}

/// 2^n as bits, for -126 <= n <= 127.
static inline F32x16 exp2_of_int(I32x16 n) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n.v, _mm512_set1_epi32(127)), 23))};
}

#elif defined(__AVX2__)

struct F32x16 { __m256 lo, hi; };
struct I32x16 { __m256i lo, hi; };

static inline F32x16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
static inline F32x16 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static inline F32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
static inline void store(float* p, F32x16 a) { _mm256_storeu_ps(p, a.lo); _mm256_storeu_ps(p + 8, a.hi); }
static inline F32x16 load_first(const float* p, int n) {
  float lanes[16] = {};
  std::memcpy(lanes, p, sizeof(float) * static_cast<size_t>(n));
  return load(lanes);
}
static inline void store_first(float* p, F32x16 a, int n) {
  float lanes[16];
  store(lanes, a);
  std::memcpy(p, lanes, sizeof(float) * static_cast<size_t>(n));
}
static inline __m256 bf16_half(const uint16_t* p) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}
static inline F32x16 load_bf16(const uint16_t* p) { return {bf16_half(p), bf16_half(p + 8)}; }
static inline F32x16 load_f16(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
static inline F32x16 add(F32x16 a, F32x16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
static inline F32x16 sub(F32x16 a, F32x16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
static inline F32x16 mul(F32x16 a, F32x16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
static inline F32x16 div(F32x16 a, F32x16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
static inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
static inline F32x16 max(F32x16 a, F32x16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
static inline F32x16 min(F32x16 a, F32x16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
static inline F32x16 abs(F32x16 a) {
  const __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  return {_mm256_and_ps(a.lo, mask), _mm256_and_ps(a.hi, mask)};
}
static inline I32x16 round_to_int(F32x16 a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }
static inline F32x16 to_float(I32x16 a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
static inline void store(int32_t* p, I32x16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.lo);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), a.hi);
}
static inline __m256 exp2_half(__m256i n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
static inline F32x16 exp2_of_int(I32x16 n) { return {exp2_half(n.lo), exp2_half(n.hi)}; }

#else  // portable

struct F32x16 { float v[16]; };
struct I32x16 { int32_t v[16]; };

template <typename F>
static inline F32x16 each(F f) {
  F32x16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = f(i);
  return r;
}
static inline F32x16 zero() { return each([](int) { return 0.0f; }); }
static inline F32x16 set1(float x) { return each([=](int) { return x; }); }
static inline F32x16 load(const float* p) { return each([=](int i) { return p[i]; }); }
static inline void store(float* p, F32x16 a) { std::memcpy(p, a.v, sizeof a.v); }
static inline F32x16 load_first(const float* p, int n) { return each([=](int i) { return i < n ? p[i] : 0.0f; }); }
static inline void store_first(float* p, F32x16 a, int n) { std::memcpy(p, a.v, sizeof(float) * static_cast<size_t>(n)); }
static inline float widen_bf16(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}
static inline float widen_f16(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, fraction = bits & 0x3ffu;
  uint32_t wide;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 5.9604644775390625e-8f;
    std::memcpy(&wide, &magnitude, sizeof wide);
    wide |= sign;
  } else {
    wide = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23) | (fraction << 13);
  }
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}
static inline F32x16 load_bf16(const uint16_t* p) { return each([=](int i) { return widen_bf16(p[i]); }); }
static inline F32x16 load_f16(const uint16_t* p) { return each([=](int i) { return widen_f16(p[i]); }); }
static inline F32x16 add(F32x16 a, F32x16 b) { return each([&](int i) { return a.v[i] + b.v[i]; }); }
static inline F32x16 sub(F32x16 a, F32x16 b) { return each([&](int i) { return a.v[i] - b.v[i]; }); }
static inline F32x16 mul(F32x16 a, F32x16 b) { return each([&](int i) { return a.v[i] * b.v[i]; }); }
static inline F32x16 div(F32x16 a, F32x16 b) { return each([&](int i) { return a.v[i] / b.v[i]; }); }
static inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return each([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
static inline F32x16 max(F32x16 a, F32x16 b) { return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
static inline F32x16 min(F32x16 a, F32x16 b) { return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
static inline F32x16 abs(F32x16 a) { return each([&](int i) { return std::fabs(a.v[i]); }); }
static inline I32x16 round_to_int(F32x16 a) {
  I32x16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<int32_t>(std::nearbyintf(a.v[i]));
  return r;
}
static inline F32x16 to_float(I32x16 a) { return each([&](int i) { return static_cast<float>(a.v[i]); }); }
static inline void store(int32_t* p, I32x16 a) { std::memcpy(p, a.v, sizeof a.v); }
static inline F32x16 exp2_of_int(I32x16 n) {
  return each([&](int i) {
    const uint32_t bits = static_cast<uint32_t>(n.v[i] + 127) << 23;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  });
}

#endif

/// The sum of 16 lanes in one fixed tree: lane i + lane i + 8, then 4, 2, 1.
#if defined(__AVX2__)
static inline float sum_lanes(F32x16 a) {
#if defined(__AVX512F__)
  const __m256 halves = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
#else
  const __m256 halves = _mm256_add_ps(a.lo, a.hi);
#endif
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
#else
static inline float sum_lanes(F32x16 a) {
  float v[16];
  store(v, a);
  for (int width = 8; width >= 1; width /= 2) {
    for (int i = 0; i < width; ++i) v[i] = v[i] + v[i + width];
  }
  return v[0];
}
#endif

/// Of values whose largest magnitude has these bits: m / 127, and what codes are multiplied by. Below 2^-119, where the
/// scale would be subnormal, both are 0.
inline constexpr uint32_t kLeastInt8Bits = (127u - 119u) << 23;
struct Int8Scale {
  float scale = 0.0f, inverse = 0.0f;
};
static inline Int8Scale int8_scale(uint32_t largest) {
  if (largest < kLeastInt8Bits) return {};
  float m;
  std::memcpy(&m, &largest, sizeof m);
  return {m / 127.0f, 127.0f / m};
}

/// The largest lane.
static inline float max_lane(F32x16 a) {
  float v[16];
  store(v, a);
  for (int width = 8; width >= 1; width /= 2) {
    for (int i = 0; i < width; ++i) v[i] = v[i] > v[i + width] ? v[i] : v[i + width];
  }
  return v[0];
}

}  // namespace echelon::cpu::ECHELON_ISA
