// Quantisation of activations, eight groups of 32 columns at once where there are 512 bits: what is computed once for a
// group (largest value, scale, sums of codes) is then one lane of a register. The definition is in products_kernels.h.
// Compiled once per instruction set with the same bits.
#pragma once

#include "kernels/cpu/isa/product_kernels.h"
#include "kernels/cpu/simd.h"

namespace echelon::cpu::ECHELON_ISA {

#if defined(__AVX512F__)
/// 16 codes, and their sum.
static inline int32_t store_codes(int8_t* codes, I32x16 q) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm512_cvtepi32_epi8(q.v));
  return _mm512_reduce_add_epi32(q.v);
}
#else
static inline int32_t store_codes(int8_t* codes, I32x16 q) {
  int32_t values[16], sum = 0;
  store(values, q);
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<int8_t>(values[i]);
    sum += values[i];
  }
  return sum;
}
#endif

/// The largest |x| of 32 values by bit pattern (the same order as the values; a NaN is largest).
static inline uint32_t largest_magnitude(const float* x) {
  uint32_t bits[32], largest = 0;
  std::memcpy(bits, x, sizeof bits);
  for (uint32_t value : bits) {
    value &= 0x7fffffffu;
    largest = value > largest ? value : largest;
  }
  return largest;
}

static inline int32_t quantize_half(const float* x, F32x16 inverse, int8_t* codes) {
  const F32x16 scaled = max(min(mul(load(x), inverse), set1(127.0f)), set1(-127.0f));
  return store_codes(codes, round_to_int(scaled));
}

static inline void quantize_group(const GroupToQuantize& group) {
  const uint32_t largest = largest_magnitude(group.values);
  const auto [d, inverse] = int8_scale(largest);
  const int row = group.row;
  ActivationGroup& out = *group.group;
  ActivationStarts& starts = *group.starts;
  const int32_t low = quantize_half(group.values, set1(inverse), out.codes[row]);
  const int32_t high = quantize_half(group.values + 16, set1(inverse), out.codes[row] + 16);
  out.scale[row] = d;
  out.scaled_sum[row] = d * static_cast<float>(low + high);
  starts.minus_8[row] = -8 * (low + high);
  starts.minus_128[row] = -128 * (low + high);
  starts.half_minus_128[0][row] = -128 * low;
  starts.half_minus_128[1][row] = -128 * high;
}

#if defined(__AVX512F__)

/// What eight groups have each of, stored at once when they are the rows of one tile.
struct EightResults {
  alignas(32) float scale[8], scaled_sum[8];
  alignas(32) int32_t minus_8[8], minus_128[8], low_minus_128[8], high_minus_128[8];
};

static inline void store_results(const GroupToQuantize* groups, __m256 d, __m256i low, __m256i high) {
  const __m256i sum = _mm256_add_epi32(low, high), zeros = _mm256_setzero_si256();
  const auto minus = [&](__m256i a, int shift) { return _mm256_sub_epi32(zeros, _mm256_slli_epi32(a, shift)); };
  const auto store_all = [&](float* scale, float* scaled_sum, int32_t* minus_8, int32_t* minus_128,
                             int32_t* low_minus_128, int32_t* high_minus_128) {
    _mm256_store_ps(scale, d);
    _mm256_store_ps(scaled_sum, _mm256_mul_ps(d, _mm256_cvtepi32_ps(sum)));
    _mm256_store_si256(reinterpret_cast<__m256i*>(minus_8), minus(sum, 3));
    _mm256_store_si256(reinterpret_cast<__m256i*>(minus_128), minus(sum, 7));
    _mm256_store_si256(reinterpret_cast<__m256i*>(low_minus_128), minus(low, 7));
    _mm256_store_si256(reinterpret_cast<__m256i*>(high_minus_128), minus(high, 7));
  };
  bool is_tile = true;
  for (int i = 0; i < 8; ++i) is_tile = is_tile && groups[i].group == groups[0].group && groups[i].row == i;
  if (is_tile) {
    ActivationGroup& out = *groups[0].group;
    ActivationStarts& starts = *groups[0].starts;
    store_all(out.scale, out.scaled_sum, starts.minus_8, starts.minus_128, starts.half_minus_128[0],
              starts.half_minus_128[1]);
    return;
  }
  EightResults results;
  store_all(results.scale, results.scaled_sum, results.minus_8, results.minus_128, results.low_minus_128,
            results.high_minus_128);
  for (int i = 0; i < 8; ++i) {
    const int row = groups[i].row;
    groups[i].group->scale[row] = results.scale[i];
    groups[i].group->scaled_sum[row] = results.scaled_sum[i];
    groups[i].starts->minus_8[row] = results.minus_8[i];
    groups[i].starts->minus_128[row] = results.minus_128[i];
    groups[i].starts->half_minus_128[0][row] = results.low_minus_128[i];
    groups[i].starts->half_minus_128[1][row] = results.high_minus_128[i];
  }
}

static void quantize_eight(const GroupToQuantize* groups) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i top[8];
  for (int i = 0; i < 8; ++i) {
    top[i] = _mm512_max_epi32(_mm512_and_si512(magnitude, _mm512_loadu_si512(groups[i].values)),
                              _mm512_and_si512(magnitude, _mm512_loadu_si512(groups[i].values + 16)));
  }
  const __m256i largest = across_lanes(top, [](__m512i a, __m512i b) { return _mm512_max_epi32(a, b); });
  if (_mm256_cmpge_epi32_mask(largest, _mm256_set1_epi32(0x7f800000)) != 0) {  // an infinity or a NaN: clamp
    for (int i = 0; i < 8; ++i) quantize_group(groups[i]);
    return;
  }
  const __mmask8 any = _mm256_cmpge_epi32_mask(largest, _mm256_set1_epi32(static_cast<int>(kLeastInt8Bits)));
  const __m256 m = _mm256_castsi256_ps(largest), top_code = _mm256_set1_ps(127.0f);
  const __m256 d = _mm256_maskz_div_ps(any, m, top_code);
  alignas(32) float inverse[8];
  _mm256_store_ps(inverse, _mm256_maskz_div_ps(any, top_code, m));
  __m512i low[8], high[8];
  for (int i = 0; i < 8; ++i) {
    // |x| * (127 / m) is below 127.5 whatever was rounded
    const F32x16 factor = set1(inverse[i]);
    low[i] = round_to_int(mul(load(groups[i].values), factor)).v;
    high[i] = round_to_int(mul(load(groups[i].values + 16), factor)).v;
    int8_t* const codes = groups[i].group->codes[groups[i].row];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes),
                        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtepi32_epi8(low[i])),
                                                _mm512_cvtepi32_epi8(high[i]), 1));
  }
  const auto add_lanes = [](__m512i a, __m512i b) { return _mm512_add_epi32(a, b); };
  store_results(groups, d, across_lanes(low, add_lanes), across_lanes(high, add_lanes));
}

static void quantize_groups(const GroupToQuantize* groups, int count) {
  for (; count >= 8; count -= 8, groups += 8) quantize_eight(groups);
  if (count == 0) return;
  GroupToQuantize filled[8];
  for (int i = 0; i < 8; ++i) filled[i] = groups[i < count ? i : count - 1];
  quantize_eight(filled);
}

#else

static void quantize_groups(const GroupToQuantize* groups, int count) {
  for (int i = 0; i < count; ++i) quantize_group(groups[i]);
}

#endif

}  // namespace echelon::cpu::ECHELON_ISA
