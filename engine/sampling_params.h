// How the tokens of one request are chosen. Plain data with vLLM's meanings; checked by validate() before it reaches
// the engine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/request_error.h"
#include "kernels/base/token.h"

namespace echelon {

struct TokenBias {
  TokenId token = 0;
  float bias = 0;
  bool operator==(const TokenBias&) const = default;
};

/// What a number may be.
struct SamplingRange {
  float min, max;
  bool above_min = false;        ///< min itself is not in it
  bool or_zero = false;          ///< 0 is, too
  bool has(float value) const {  // no NaN is
    return (value >= min && value <= max && !(above_min && value == min)) || (or_zero && value == 0);
  }
  std::string text() const;  ///< "from 0 to 100"
};

inline constexpr SamplingRange kTemperatureRange{.min = 0.001f, .max = 100, .or_zero = true}, kTopPRange{0, 1, true},
    kMinPRange{0, 1}, kTypicalPRange{0, 1, true}, kRepetitionPenaltyRange{0.01f, 100}, kPenaltyRange{-2, 2};

struct SamplingParams {
  float temperature = 1.0f;         ///< 0: greedy
  int top_k = 0;                    ///< 0 or -1: all
  float top_p = 1.0f;               ///< (0, 1]
  float min_p = 0.0f;               ///< [0, 1]
  float typical_p = 1.0f;           ///< (0, 1]; 1: all
  float repetition_penalty = 1.0f;  ///< > 0; over prompt and output
  float presence_penalty = 0.0f;    ///< [-2, 2]; over the output
  float frequency_penalty = 0.0f;   ///< [-2, 2]
  uint64_t seed = 0;                ///< always set: the front end draws one when the client gives none, and returns it
  int max_tokens = 16;              ///< >= 1
  int min_tokens = 0;               ///< before them no end-of-generation and no stop token is sampled
  bool ignore_eos = false;
  std::vector<TokenId> stop_token_ids;          ///< at most kMaxStopTokens
  std::vector<TokenBias> logit_bias;            ///< added to logits; in [-100, 100], each token once
  std::vector<TokenId> allowed_token_ids;       ///< no other is sampled; none: any is
  std::vector<std::vector<TokenId>> bad_words;  ///< the last token of one is not sampled behind the others of it
  int num_logprobs = -1;                        ///< -1: none; k: the sampled token's and the k most likely
  int num_prompt_logprobs = -1;                 ///< -1: none; k: likewise for every prompt token but the first

  bool has_penalties() const {
    return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
  }
  /// Has the next token to do with those before, beside what the model makes of them?
  bool needs_tokens() const;
  /// Ids in all the lists.
  size_t num_listed() const;
  bool operator==(const SamplingParams&) const = default;
};

inline constexpr int kMaxStopTokens = 128;
inline constexpr int kMaxLogitBiases = 1024;
inline constexpr int kMaxAllowedTokens = 16384;
inline constexpr int kMaxBadWords = 256;  ///< spellings, each of at most kMaxBadWordTokens
inline constexpr int kMaxBadWordTokens = 128;
inline constexpr int kMaxLogprobs = 20;

/// Ranges of every field, as OpenAI and vLLM have them; the error names the parameter.
std::optional<RequestError> validate(const SamplingParams& params, int64_t vocab_size);

}  // namespace echelon
