// Chooses the next token of a sequence from its logits, and says how likely tokens were.
//
// Order of steps as in vLLM: tokens that may not be sampled (a mask, allowed_token_ids, bad_words, min_tokens),
// logit_bias, penalties, temperature, typical_p, min_p, top_k, top_p, then a draw. Tokens are ordered by (logit
// descending, id ascending), and what each step behind typical_p leaves is a beginning of that order. Masses are sums
// of float32 weights (kernels/logits.h) in float64. The draw is Gumbel-max in float64 with counter-based noise: key =
// seed, counter = {token / 4, position, choice, stream}, lane = token mod 4: frozen, because a token of a stream must
// come out the same after a restart on any layout. Log-probabilities are those of the raw logits.
//
// The vocabulary is read twice or thrice by vector kernels; only tokens that a bound cannot rule out are looked at one
// by one.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "engine/request.h"
#include "engine/sampling_params.h"
#include "engine/token_mask.h"
#include "kernels/backend.h"
#include "kernels/logits.h"

namespace echelon {

/// Sampled when no logit is finite, or the best is not: the scheduler ends the sequence with an error.
inline constexpr TokenId kNoToken = -1;

/// What sampling needs to know of one sequence.
struct SamplingState {
  SamplingParams params;
  int choice = 0;
  int num_prompt = 0;
  std::unordered_map<TokenId, int> output_counts;  ///< only kept when a penalty needs them
  std::unordered_map<TokenId, int> prompt_counts;
  std::vector<TokenId> output_tail;  ///< the last outputs, as many as a bad word may have before its last token

  SamplingState() = default;
  /// tokens: prompt and output so far; may be empty when the parameters do not need them.
  SamplingState(const SamplingParams& sampling, int choice_index, int num_prompt_tokens,
                std::span<const TokenId> tokens);
  void note_output(TokenId token);
};

/// Reuses its scratch memory; one thread.
class Sampler {
 public:
  /// end_tokens end a generation (masked until min_tokens are out).
  explicit Sampler(std::vector<TokenId> end_tokens, const LogitKernels& kernels = logit_kernels(best_cpu_isa()))
      : end_tokens_(std::move(end_tokens)), kernels_(kernels) {}

  /// `position` is the new token's. allowed: of the logits' width; null: any token; where it allows end tokens alone,
  /// min_tokens does not keep them away. Does not change the state.
  OutputToken sample(std::span<const float> logits, const SamplingState& state, int position,
                     const TokenMask* allowed = nullptr);

  /// Log-probability of one token and the num_top most likely ones.
  TokenLogprob logprob(std::span<const float> logits, TokenId token, int num_top);

 private:
  /// The last token of those that truncation leaves.
  struct Cut {
    float logit;
    TokenId token;
  };
  TokenId choose(std::span<const float> logits, const SamplingState& state, int position, const TokenMask* allowed);
  void mask(const SamplingState& state, int position, const TokenMask* allowed);
  std::span<const float> adjusted(std::span<const float> logits, const SamplingState& state, int position,
                                  const TokenMask* allowed);
  std::span<const float> typical(std::span<const float> logits, TokenId best, const SamplingParams& params);
  void read_maxima(std::span<const float> logits);
  TokenId best_token(std::span<const float> logits) const;
  void sort_best(std::span<const float> logits, size_t count);
  Cut truncate(std::span<const float> logits, TokenId best, const SamplingParams& params);
  Cut cut_after(std::span<const float> logits, size_t count) const;
  Cut top_p_cut(std::span<const float> logits, TokenId best, const SamplingParams& params);
  Cut flat_top_p_cut(std::span<const float> logits, float most, const SamplingParams& params);
  TokenId draw(std::span<const float> logits, TokenId best, const SamplingState& state, int position, Cut cut);

  std::vector<TokenId> end_tokens_;
  const LogitKernels& kernels_;
  std::vector<float> adjusted_, maxima_, order_, weights_;
  std::vector<TokenId> sorted_;  ///< a beginning of the tokens' order
};

}  // namespace echelon
