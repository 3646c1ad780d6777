// More of the sixteen lanes of simd.h, for the operations other than products: selection, signs, horizontal maximum,
// prefetch, and the register shape that attention's inner loop fits.
#pragma once

#include "kernels/cpu/simd.h"

namespace echelon::cpu::ECHELON_ISA {

/// Nearest even; subnormals become 0 with their sign; a NaN stays a (quiet) NaN: vcvtne2ps2bf16.
static inline uint16_t narrow_to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint16_t rounded = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  const uint16_t quiet = static_cast<uint16_t>((bits >> 16) | 0x40u);
  const uint16_t number = (bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded;
  return (bits & 0x7f800000u) == 0 ? static_cast<uint16_t>(bits >> 16 & 0x8000u) : number;
}

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
/// Lane i: the largest lane of v[i]; 0 from 8 on.
static inline F32x16 largest_of_each(const F32x16 (&v)[8]) {
  __m512i bits[8];
  for (int i = 0; i < 8; ++i) bits[i] = _mm512_castps_si512(v[i].v);
  const __m256i most = across_lanes(bits, [](__m512i a, __m512i b) {
    return _mm512_castps_si512(_mm512_max_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
  });
  return {_mm512_castsi512_ps(_mm512_zextsi256_si512(most))};
}
/// The nearest whole number, ties to even.
static inline F32x16 round(F32x16 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// p * 2^n for whole n in [-151, 129], rounded once: a result below 2^-126 is 0.
static inline F32x16 scale_by_power(F32x16 p, F32x16 n) { return {_mm512_scalef_ps(p.v, n.v)}; }

/// Even and odd elements of a, b (32 consecutive ones).
static inline void unzip(F32x16 a, F32x16 b, F32x16& even, F32x16& odd) {
  const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  even.v = _mm512_permutex2var_ps(a.v, evens, b.v);
  odd.v = _mm512_permutex2var_ps(a.v, _mm512_or_si512(evens, _mm512_set1_epi32(1)), b.v);
}
/// 32 bf16 widened: even elements, odd elements.
static inline void widen_pairs(__m512i pairs, F32x16& even, F32x16& odd) {
  even.v = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
  odd.v = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}
static inline void load_pairs(const uint16_t* p, F32x16& even, F32x16& odd) {
  widen_pairs(_mm512_loadu_si512(p), even, odd);
}
/// The value of narrow_to_bf16().
static inline F32x16 round_to_bf16(F32x16 a) {
  const __m512i bits = _mm512_castps_si512(a.v), top = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  const __m512i last = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), last);
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
  const __mmask16 normal = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x7f800000));
  const __m512i kept = _mm512_mask_blend_epi32(normal, _mm512_set1_epi32(static_cast<int>(0x80000000u)), top);
  return {_mm512_castsi512_ps(_mm512_and_si512(rounded, kept))};
}
/// 16 whole numbers, exact in float.
static inline F32x16 load_int8(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
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

static inline void unzip(F32x16 a, F32x16 b, F32x16& even, F32x16& odd) {
  const auto half = [](__m256 x, __m256 y, auto shuffle) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(shuffle(x, y)), 0xd8));
  };
  const auto evens = [](__m256 x, __m256 y) { return _mm256_shuffle_ps(x, y, 0x88); };
  const auto odds = [](__m256 x, __m256 y) { return _mm256_shuffle_ps(x, y, 0xdd); };
  even = {half(a.lo, a.hi, evens), half(b.lo, b.hi, evens)};
  odd = {half(a.lo, a.hi, odds), half(b.lo, b.hi, odds)};
}
static inline void load_pairs(const uint16_t* p, F32x16& even, F32x16& odd) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 16));
  const __m256i top = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  even = {_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
  odd = {_mm256_castsi256_ps(_mm256_and_si256(low, top)), _mm256_castsi256_ps(_mm256_and_si256(high, top))};
}
static inline __m256 round_half_to_bf16(__m256 a) {
  const __m256i bits = _mm256_castps_si256(a), top = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  const __m256i last = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), last);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256 nan = _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
  const __m256i value = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(nan));
  const __m256i exponent = _mm256_and_si256(bits, _mm256_set1_epi32(0x7f800000));
  const __m256i tiny = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256());
  const __m256i kept = _mm256_blendv_epi8(top, _mm256_set1_epi32(static_cast<int>(0x80000000u)), tiny);
  return _mm256_castsi256_ps(_mm256_and_si256(value, kept));
}
static inline F32x16 round_to_bf16(F32x16 a) { return {round_half_to_bf16(a.lo), round_half_to_bf16(a.hi)}; }
static inline F32x16 load_int8(const int8_t* p) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(codes, codes)))};
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

static inline void unzip(F32x16 a, F32x16 b, F32x16& even, F32x16& odd) {
  for (int i = 0; i < 16; ++i) {
    even.v[i] = i < 8 ? a.v[2 * i] : b.v[2 * i - 16];
    odd.v[i] = i < 8 ? a.v[2 * i + 1] : b.v[2 * i - 15];
  }
}
static inline void load_pairs(const uint16_t* p, F32x16& even, F32x16& odd) {
  even = each([=](int i) { return widen_bf16(p[2 * i]); });
  odd = each([=](int i) { return widen_bf16(p[2 * i + 1]); });
}
static inline F32x16 round_to_bf16(F32x16 a) {
  return each([&](int i) { return widen_bf16(narrow_to_bf16(a.v[i])); });
}
static inline F32x16 load_int8(const int8_t* p) {
  return each([=](int i) { return static_cast<float>(p[i]); });
}

#endif

#if !defined(__AVX512F__)
static inline F32x16 largest_of_each(const F32x16 (&v)[8]) {
  float most[16] = {};
  for (int i = 0; i < 8; ++i) most[i] = largest(v[i]);
  return load(most);
}
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

/// What attention's inner loop does with one row of the cache, T its elements: Lanes of 16 columns against one Value
/// for all, accumulated. A bf16 row holds kStep = 2 elements of each column side by side, which are multiplied one
/// after the other, the second (odd) first: so does vdpbf16ps, which rounds after each, to nearest even, and takes
/// subnormals for 0. Stored: how the broadcast side is kept.
template <typename T>
struct FoldOf {
  static constexpr int kStep = 1;
  using Stored = float;
  using Lanes = F32x16;
  using Value = F32x16;
  static Lanes lanes(const float* p) { return load(p); }
  static Lanes lanes(const int8_t* p) { return load_int8(p); }
  static Value value(const float* p) { return set1(*p); }
  static F32x16 add(Value value, Lanes lanes, F32x16 acc) { return fma(value, lanes, acc); }
};

#if defined(__AVX512BF16__)

template <>
struct FoldOf<uint16_t> {
  static constexpr int kStep = 2;
  using Stored = uint16_t;
  using Lanes = __m512i;
  using Value = __m512i;
  static Lanes lanes(const uint16_t* p) { return _mm512_loadu_si512(p); }
  static Value value(const uint16_t* p) {
    int32_t pair;
    std::memcpy(&pair, p, sizeof pair);
    return _mm512_set1_epi32(pair);
  }
  static F32x16 add(Value value, Lanes lanes, F32x16 acc) {
    return {_mm512_dpbf16_ps(acc.v, reinterpret_cast<__m512bh>(lanes), reinterpret_cast<__m512bh>(value))};
  }
};
/// 32 consecutive elements to bf16; even and odd become what was stored.
static inline void store_rounded(uint16_t* out, F32x16 a, F32x16 b, F32x16& even, F32x16& odd) {
  const __m512i pairs = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b.v, a.v));
  _mm512_storeu_si512(out, pairs);
  widen_pairs(pairs, even, odd);
}

#else

template <>
struct FoldOf<uint16_t> {
  static constexpr int kStep = 2;
  using Stored = float;
  struct Lanes {
    F32x16 even, odd;
  };
  using Value = Lanes;
  static Lanes lanes(const uint16_t* p) {
    Lanes result;
    load_pairs(p, result.even, result.odd);
    return result;
  }
  static Value value(const float* p) { return {set1(p[0]), set1(p[1])}; }
  static F32x16 add(Value value, Lanes lanes, F32x16 acc) {
    return fma(value.even, lanes.even, fma(value.odd, lanes.odd, acc));
  }
};
static inline void store_rounded(float* out, F32x16 a, F32x16 b, F32x16& even, F32x16& odd) {
  const F32x16 low = round_to_bf16(a), high = round_to_bf16(b);
  store(out, low);
  store(out + 16, high);
  unzip(low, high, even, odd);
}

#endif

/// To the second-level cache. Any address.
static inline void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }

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
