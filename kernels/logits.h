// Host kernels over the logits of one row, for sampling. Every instruction set gives the same bits, inside a
// FloatEnvironment. Included by sources compiled once per instruction set, so it holds no inline function.
#pragma once

#include <cstdint>

namespace echelon {

enum class CpuIsa;  // kernels/backend.h

/// Tokens are looked at in blocks of so many.
inline constexpr int kLogitBlock = 64;

/// Gumbel-max over one row: token i scores logits[i] / temperature + noise, with noise = -log(-log(u)), u = (bits +
/// 1/2) / 2^32, and bits lane i mod 4 of Philox4x32-10 with counter {i / 4, position, choice, stream}.
struct GumbelDraw {
  uint32_t key[2];
  uint32_t position = 0, choice = 0, stream = 0;
  float most = 0;    ///< the largest logit
  float factor = 1;  ///< 1 / temperature
  float lead = 0;    ///< most / temperature less the score to reach, made larger by more than its rounding
};

struct LogitKernels {
  /// maxima[b] = the largest logit of block b, -infinity when it has none; NaN is passed over. n >= 1.
  void (*block_maxima)(const float* logits, int64_t n, float* maxima);
  /// out = e^((logit - most) * factor) for logits <= most; 0 for NaN and below e^-87. Relative error below 2e-7 beside
  /// that of the rounded exponent.
  void (*weights)(const float* logits, int64_t n, float most, float factor, float* out);
  /// The sum of weights() in float64: lane i mod 16 adds ascending, then the lanes as the tree of simd.h.
  double (*sum_weights)(const float* logits, int64_t n, float most, float factor);
  /// Bit i is set for every token first_token + i, i < n <= 64, whose score may reach the one that `draw` names; few
  /// others are. first_token is a multiple of 64.
  uint64_t (*may_win)(const float* logits, int n, uint32_t first_token, const GumbelDraw& draw);
};

/// The caller knows that this machine has the instruction set.
const LogitKernels& logit_kernels(CpuIsa isa);

}  // namespace echelon
