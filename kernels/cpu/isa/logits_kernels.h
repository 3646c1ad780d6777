// The kernels of kernels/logits.h; compiled once per instruction set with the same bits.
//
// may_win: 1 - u = (~bits + 1/2) / 2^32. A token that needs the noise d or more wins only if u >= exp(-exp(-d)), and
// 1 - exp(-x) <= x, so only if 1 - u <= exp(-d): one exp instead of two logarithms, and hardly any token passes.
#pragma once

// g++ 12 takes the deliberately undefined operand inside its own AVX-512 intrinsics for a mistake of ours.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include "kernels/cpu/isa/ops_simd.h"
#include "kernels/logits.h"

namespace echelon::cpu::ECHELON_ISA {

/// Lanes beyond the row are -infinity.
static inline F32x16 load_logits(const float* p, int64_t left) {
  if (left >= 16) return load(p);
  float lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = i < left ? p[i] : -__builtin_inff();
  return load(lanes);
}

static void block_maxima(const float* logits, int64_t n, float* maxima) {
  for (int64_t first = 0; first < n; first += kLogitBlock) {
    F32x16 most = set1(-__builtin_inff());
    for (int64_t i = first; i < first + kLogitBlock && i < n; i += 16) most = max(load_logits(logits + i, n - i), most);
    *maxima++ = largest(most);
  }
}

static inline F32x16 weights_of(F32x16 logits, F32x16 most, F32x16 factor) {
  const F32x16 exponent = mul(sub(logits, most), factor);
  return exp_not_positive(max(exponent, set1(-104.0f)));  // the second operand where the first is NaN
}

static void weights(const float* logits, int64_t n, float most, float factor, float* out) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, weights_of(load(logits + i), set1(most), set1(factor)));
  if (i < n)
    store_first(out + i, weights_of(load_logits(logits + i, n - i), set1(most), set1(factor)), static_cast<int>(n - i));
}

static double sum_weights(const float* logits, int64_t n, float most, float factor) {
  F64x16 lanes = {};
  for (int64_t i = 0; i < n; i += 16) {
    lanes = add(lanes, weights_of(load_logits(logits + i, n - i), set1(most), set1(factor)));
  }
  return sum_lanes(lanes);
}

/// ~bits / 256, rounded down, of the tokens of 16 counters.
static inline void missing_shares(uint32_t first_counter, const GumbelDraw& draw, float (&out)[kLogitBlock]) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
  constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
  uint32_t w0[16], w1[16], w2[16], w3[16];
  for (uint32_t l = 0; l < 16; ++l) {
    w0[l] = first_counter + l;
    w1[l] = draw.position;
    w2[l] = draw.choice;
    w3[l] = draw.stream;
  }
  uint32_t key0 = draw.key[0], key1 = draw.key[1];
  for (int round = 0; round < 10; ++round) {
    for (int l = 0; l < 16; ++l) {
      const uint64_t product0 = kMultiplier0 * w0[l], product1 = kMultiplier1 * w2[l];
      w0[l] = static_cast<uint32_t>(product1 >> 32) ^ w1[l] ^ key0;
      w1[l] = static_cast<uint32_t>(product1);
      w2[l] = static_cast<uint32_t>(product0 >> 32) ^ w3[l] ^ key1;
      w3[l] = static_cast<uint32_t>(product0);
    }
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  for (int l = 0; l < 16; ++l) {
    out[4 * l] = static_cast<float>(static_cast<int32_t>(~w0[l] >> 8));
    out[4 * l + 1] = static_cast<float>(static_cast<int32_t>(~w1[l] >> 8));
    out[4 * l + 2] = static_cast<float>(static_cast<int32_t>(~w2[l] >> 8));
    out[4 * l + 3] = static_cast<float>(static_cast<int32_t>(~w3[l] >> 8));
  }
}

static uint64_t may_win(const float* logits, int n, uint32_t first_token, const GumbelDraw& draw) {
  float missing[kLogitBlock], slack[kLogitBlock];
  missing_shares(first_token / 4, draw, missing);
  F32x16 most = set1(-1.0f);
  for (int i = 0; i < n; i += 16) {
    const F32x16 exponent =
        add(mul(sub(load_logits(logits + i, n - i), set1(draw.most)), set1(draw.factor)), set1(draw.lead));
    const F32x16 share = exp_not_positive(min(max(exponent, set1(-104.0f)), set1(1.0f)));
    const F32x16 difference = sub(mul(share, set1(0x1p24f)), load(missing + i));
    store(slack + i, difference);
    most = max(difference, most);
  }
  uint64_t passed = 0;
  if (largest(most) < 0) return passed;
  for (int i = 0; i < n; ++i) passed |= static_cast<uint64_t>(slack[i] >= 0) << i;
  return passed;
}

const LogitKernels& logit_kernels() {
  static constexpr LogitKernels kKernels = {
      .block_maxima = block_maxima, .weights = weights, .sum_weights = sum_weights, .may_win = may_win};
  return kKernels;
}

}  // namespace echelon::cpu::ECHELON_ISA
