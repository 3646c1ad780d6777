// More of the sixteen lanes of simd.h, for the operations other than products: selection, signs, horizontal maximum,
// prefetch, and the register shape that attention's inner loop fits.
#pragma once

#include "kernels/cpu/simd.h"

namespace echelon::cpu::ECHELON_ISA {

#if defined(__AVX512F__)

inline constexpr int kFoldRows = 8, kFoldVectors = 2;  // 16 of 32 registers

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

#elif defined(__AVX2__)

inline constexpr int kFoldRows = 4, kFoldVectors = 1;  // 8 of 16 registers

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

#else

inline constexpr int kFoldRows = 1, kFoldVectors = 1;

static inline F32x16 select_less(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
  return each([&](int i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
}
static inline F32x16 copy_sign(F32x16 a, F32x16 b) {
  return each([&](int i) { return __builtin_copysignf(a.v[i], b.v[i]); });
}
static inline float largest(F32x16 a) { return max_lane(a); }

#endif

static inline F32x16 load_lanes(const float* p) { return load(p); }
static inline F32x16 load_lanes(const uint16_t* p) { return load_bf16(p); }

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

/// e^x. Relative error below 1.1e-7 for x in [-86.98, 88.72]; 0 below, infinity above; a NaN stays one.
/// x = n ln 2 + r with |r| <= ln 2 / 2; a polynomial of degree 6 in r (Chebyshev interpolation of (e^r - 1 - r) / r^2),
/// times 2^n. The result of the polynomial is doubled and n lowered by one, so that n = 128 needs no second factor and
/// n <= -126 gives 0.
static inline F32x16 exp(F32x16 x) {
  x = min(set1(89.0f), x);  // these keep a NaN: the second operand is taken when a comparison fails
  x = max(set1(-87.5f), x);
  const F32x16 n = to_float(round_to_int(mul(x, set1(1.44269504f))));
  F32x16 r = fma(n, set1(-0x1.62e4p-1f), x);
  r = fma(n, set1(-1.42860677e-6f), r);
  F32x16 p = set1(1.3926250394e-3f);
  p = fma(p, r, set1(8.3632329479e-3f));
  p = fma(p, r, set1(4.1666552424e-2f));
  p = fma(p, r, set1(0.16666576266f));
  p = fma(p, r, set1(0.5f));
  p = fma(p, r, set1(1.0f));
  p = fma(p, r, set1(1.0f));
  return mul(add(p, p), exp2_of_int(round_to_int(sub(n, set1(1.0f)))));
}

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
