// More of the sixteen lanes of simd.h, for the operations other than products: selection, signs, horizontal maximum,
// prefetch, and the register shape that attention's inner loop fits.
#pragma once

#include "kernels/cpu/simd.h"

namespace echelon::cpu::ECHELON_ISA {

#if defined(__AVX512F__)

inline constexpr int kFoldRows = 8, kFoldVectors = 2;  // 16 of 32 registers

struct F64x16 {
  __m512d lo, hi;
};
static inline F64x16 add(F64x16 a, F32x16 b) {
  return {_mm512_add_pd(a.lo, _mm512_cvtps_pd(_mm512_castps512_ps256(b.v))),
          _mm512_add_pd(a.hi, _mm512_cvtps_pd(_mm512_extractf32x8_ps(b.v, 1)))};
}
static inline void store(double* p, F64x16 a) {
  _mm512_storeu_pd(p, a.lo);
  _mm512_storeu_pd(p + 8, a.hi);
}

/// a < b ? x : y, lane by lane.
static inline F32x16 select_less(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
/// The magnitude of a with the sign of b.
static inline F32x16 copy_sign(F32x16 a, F32x16 b) {
  const __m512 sign = _mm512_set1_ps(-0.0f);
  return {_mm512_or_ps(_mm512_andnot_ps(sign, a.v), _mm512_and_ps(sign, b.v))};
}
static inline float largest(F32x16 a) { return _mm512_reduce_max_ps(a.v); }
/// The nearest whole number, ties to even.
static inline F32x16 round(F32x16 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// p * 2^n for whole n in [-151, 129], rounded once: a result below 2^-126 is 0.
static inline F32x16 scale_by_power(F32x16 p, F32x16 n) { return {_mm512_scalef_ps(p.v, n.v)}; }

/// 32 bf16 widened with one load and two operations: even elements, odd elements.
static inline void load_scrambled(const uint16_t* p, F32x16 (&out)[2]) {
  const __m512i pairs = _mm512_loadu_si512(p);
  out[0].v = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
  out[1].v = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}
/// 16 whole numbers, exact in float.
static inline F32x16 load_int8(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
/// Back into the order of the elements.
static inline void unscramble(F32x16 (&v)[2]) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  const __m512 even = v[0].v;
  v[0].v = _mm512_permutex2var_ps(even, low, v[1].v);
  v[1].v = _mm512_permutex2var_ps(even, high, v[1].v);
}

#elif defined(__AVX2__)

inline constexpr int kFoldRows = 4, kFoldVectors = 1;  // 8 of 16 registers

struct F64x16 {
  __m256d v[4];
};
static inline F64x16 add(F64x16 a, F32x16 b) {
  const __m128 quarters[4] = {_mm256_castps256_ps128(b.lo), _mm256_extractf128_ps(b.lo, 1),
                              _mm256_castps256_ps128(b.hi), _mm256_extractf128_ps(b.hi, 1)};
  for (int i = 0; i < 4; ++i) a.v[i] = _mm256_add_pd(a.v[i], _mm256_cvtps_pd(quarters[i]));
  return a;
}
static inline void store(double* p, F64x16 a) {
  for (int i = 0; i < 4; ++i) _mm256_storeu_pd(p + 4 * i, a.v[i]);
}

static inline F32x16 select_less(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
  return {_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
          _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
static inline F32x16 copy_sign(F32x16 a, F32x16 b) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(sign, a.lo), _mm256_and_ps(sign, b.lo)),
          _mm256_or_ps(_mm256_andnot_ps(sign, a.hi), _mm256_and_ps(sign, b.hi))};
}
static inline float largest(F32x16 a) {
  const __m256 half = _mm256_max_ps(a.lo, a.hi);
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}
static inline F32x16 round(F32x16 a) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, kNearest), _mm256_round_ps(a.hi, kNearest)};
}
static inline __m256 scale_half(__m256 p, __m256 whole) {
  const __m256i n = _mm256_cvtps_epi32(whole), half = _mm256_srai_epi32(n, 1);
  return _mm256_mul_ps(_mm256_mul_ps(p, exp2_half(half)), exp2_half(_mm256_sub_epi32(n, half)));
}
static inline F32x16 scale_by_power(F32x16 p, F32x16 n) { return {scale_half(p.lo, n.lo), scale_half(p.hi, n.hi)}; }

static inline void load_scrambled(const uint16_t* p, F32x16 (&out)[1]) {
  const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  out[0].lo = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
  out[0].hi = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}
static inline F32x16 load_int8(const int8_t* p) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(codes, codes)))};
}
static inline void unscramble(F32x16 (&v)[1]) {
  const __m256 a = _mm256_unpacklo_ps(v[0].lo, v[0].hi), b = _mm256_unpackhi_ps(v[0].lo, v[0].hi);
  v[0] = {_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31)};
}

#else

inline constexpr int kFoldRows = 1, kFoldVectors = 1;

struct F64x16 {
  double v[16];
};
static inline F64x16 add(F64x16 a, F32x16 b) {
  for (int i = 0; i < 16; ++i) a.v[i] += static_cast<double>(b.v[i]);
  return a;
}
static inline void store(double* p, F64x16 a) { std::memcpy(p, a.v, sizeof a.v); }

static inline F32x16 select_less(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
  return each([&](int i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
}
static inline F32x16 copy_sign(F32x16 a, F32x16 b) {
  return each([&](int i) { return __builtin_copysignf(a.v[i], b.v[i]); });
}
static inline float largest(F32x16 a) { return max_lane(a); }
static inline F32x16 round(F32x16 a) {
  return each([&](int i) { return std::nearbyintf(a.v[i]); });
}
static inline F32x16 scale_by_power(F32x16 p, F32x16 n) {
  const auto power = [](int e) {
    const uint32_t bits = static_cast<uint32_t>(e + 127) << 23;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  };
  return each([&](int i) {
    const int whole = n.v[i] == n.v[i] ? static_cast<int>(n.v[i]) : 0;  // a NaN is in p, too
    const int half = whole >> 1;
    return p.v[i] * power(half) * power(whole - half);
  });
}

static inline void load_scrambled(const uint16_t* p, F32x16 (&out)[1]) { out[0] = load_bf16(p); }
static inline F32x16 load_int8(const int8_t* p) {
  return each([=](int i) { return static_cast<float>(p[i]); });
}
static inline void unscramble(F32x16 (&)[1]) {}

#endif

/// The sum of 16 lanes in the tree of the other sum_lanes.
static inline double sum_lanes(F64x16 a) {
  double v[16];
  store(v, a);
  for (int width = 8; width >= 1; width /= 2) {
    for (int i = 0; i < width; ++i) v[i] = v[i] + v[i + width];
  }
  return v[0];
}

/// Vectors of 16 consecutive elements, widened. bf16 in full width comes in an order of its own (load_scrambled), which
/// `restore_order` undoes: lanes never mix in between, so no bit depends on it.
template <int V>
static inline void load_lanes(const float* p, F32x16 (&out)[V]) {
  for (int v = 0; v < V; ++v) out[v] = load(p + 16 * v);
}
template <int V>
static inline void load_lanes(const uint16_t* p, F32x16 (&out)[V]) {
  if constexpr (V == kFoldVectors) {
    load_scrambled(p, out);
  } else {
    for (int v = 0; v < V; ++v) out[v] = load_bf16(p + 16 * v);
  }
}
template <int V>
static inline void load_lanes(const int8_t* p, F32x16 (&out)[V]) {
  for (int v = 0; v < V; ++v) out[v] = load_int8(p + 16 * v);
}
template <typename T, int V>
static inline void restore_order(F32x16 (&lanes)[V]) {
  if constexpr (sizeof(T) == 2 && V == kFoldVectors) unscramble(lanes);
}

/// To the second-level cache. Any address.
static inline void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }

/// Nearest even; a NaN stays a (quiet) NaN.
static inline uint16_t narrow_to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint16_t rounded = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  const uint16_t quiet = static_cast<uint16_t>((bits >> 16) | 0x40u);
  return (bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded;
}

/// e^x for x <= 0 (above 89 the range of n is left). Relative error below 1.1e-7 down to -87.3; 0 below; a NaN stays
/// one. x = n ln 2 + r with |r| <= ln 2 / 2; a polynomial of degree 6 in r (Chebyshev interpolation of (e^r - 1 - r) /
/// r^2), times 2^n.
static inline F32x16 exp_not_positive(F32x16 x) {
  x = max(set1(-104.0f), x);  // keeps a NaN: the second operand is taken when the comparison fails
  const F32x16 n = round(mul(x, set1(1.44269504f)));
  F32x16 r = fma(n, set1(-0x1.62e4p-1f), x);
  r = fma(n, set1(-1.42860677e-6f), r);
  F32x16 p = set1(1.3926250394e-3f);
  p = fma(p, r, set1(8.3632329479e-3f));
  p = fma(p, r, set1(4.1666552424e-2f));
  p = fma(p, r, set1(0.16666576266f));
  p = fma(p, r, set1(0.5f));
  p = fma(p, r, set1(1.0f));
  p = fma(p, r, set1(1.0f));
  return scale_by_power(p, n);
}

/// e^x for any x, as above; infinity from 88.73 on.
static inline F32x16 exp(F32x16 x) { return exp_not_positive(min(set1(89.0f), x)); }

/// tanh x. Relative error below 3e-7. |x| < 0.625: x + x^3 P(x^2), P of degree 5 by Chebyshev interpolation; else 1 - 2
/// / (e^2|x| + 1).
static inline F32x16 tanh(F32x16 x) {
  const F32x16 magnitude = abs(x), one = set1(1.0f);
  const F32x16 square = mul(x, x);
  F32x16 p = set1(2.2927448e-3f);
  p = fma(p, square, set1(-8.3439453e-3f));
  p = fma(p, square, set1(2.1768918e-2f));
  p = fma(p, square, set1(-5.3959257e-2f));
  p = fma(p, square, set1(0.13333304f));
  p = fma(p, square, set1(-0.33333334f));
  const F32x16 small = fma(mul(p, square), x, x);
  const F32x16 large = sub(one, div(set1(2.0f), add(exp(add(magnitude, magnitude)), one)));
  return select_less(magnitude, set1(0.625f), small, copy_sign(large, x));
}

}  // namespace echelon::cpu::ECHELON_ISA
