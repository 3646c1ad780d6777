#include "engine/sampling_params.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace echelon {
namespace {

std::optional<RequestError> refuse(const char* param, const std::string& expected, double value) {
  return RequestError{.message = fmt::format("'{}' must be {}, got {}", param, expected, value), .param = param};
}

std::optional<RequestError> check_range(const char* param, float value, const SamplingRange& range) {
  if (range.has(value)) return std::nullopt;
  return refuse(param, range.text(), value);
}

std::optional<RequestError> check_ids(const char* param, const std::vector<TokenId>& ids, int64_t vocab_size) {
  for (const TokenId token : ids) {
    if (token < 0 || token >= vocab_size) return refuse(param, fmt::format("ids below {}", vocab_size), token);
  }
  return std::nullopt;
}

std::optional<RequestError> check_size(const char* param, size_t size, int most) {
  if (size <= static_cast<size_t>(most)) return std::nullopt;
  return refuse(param, fmt::format("at most {} of them", most), static_cast<double>(size));
}

/// What may be sampled at all.
std::optional<RequestError> check_lists(const SamplingParams& p, int64_t vocab_size) {
  if (auto error = check_size("stop_token_ids", p.stop_token_ids.size(), kMaxStopTokens)) return error;
  if (auto error = check_ids("stop_token_ids", p.stop_token_ids, vocab_size)) return error;
  if (auto error = check_size("allowed_token_ids", p.allowed_token_ids.size(), kMaxAllowedTokens)) return error;
  if (auto error = check_ids("allowed_token_ids", p.allowed_token_ids, vocab_size)) return error;
  if (auto error = check_size("logit_bias", p.logit_bias.size(), kMaxLogitBiases)) return error;
  for (const auto& [token, bias] : p.logit_bias) {
    if (auto error = check_ids("logit_bias", {token}, vocab_size)) return error;
    if (!(bias >= -100 && bias <= 100)) return refuse("logit_bias", "between -100 and 100", bias);
  }
  if (auto error = check_size("bad_words", p.bad_words.size(), kMaxBadWords)) return error;
  for (const std::vector<TokenId>& word : p.bad_words) {
    if (word.empty()) return refuse("bad_words", "words of at least one token", 0);
    if (auto error = check_size("bad_words", word.size(), kMaxBadWordTokens)) return error;
    if (auto error = check_ids("bad_words", word, vocab_size)) return error;
  }
  return std::nullopt;
}

}  // namespace

std::string SamplingRange::text() const {
  const std::string most = fmt::format("{} {}", above_min ? "and at most" : "to", max);
  return fmt::format("{}{} {} {}", or_zero ? "0 or " : "", above_min ? "above" : "from", min, most);
}

bool SamplingParams::needs_tokens() const {
  return has_penalties() ||
         std::any_of(bad_words.begin(), bad_words.end(), [](const auto& word) { return word.size() > 1; });
}

size_t SamplingParams::num_listed() const {
  size_t total = stop_token_ids.size() + 2 * logit_bias.size() + allowed_token_ids.size();
  for (const auto& word : bad_words) total += 1 + word.size();
  return total;
}

std::optional<RequestError> validate(const SamplingParams& p, int64_t vocab_size) {
  if (auto error = check_range("temperature", p.temperature, kTemperatureRange)) return error;
  if (p.top_k < -1) return refuse("top_k", "-1 or 0 (all), or at least 1", p.top_k);
  if (auto error = check_range("top_p", p.top_p, kTopPRange)) return error;
  if (auto error = check_range("min_p", p.min_p, kMinPRange)) return error;
  if (auto error = check_range("typical_p", p.typical_p, kTypicalPRange)) return error;
  if (auto error = check_range("repetition_penalty", p.repetition_penalty, kRepetitionPenaltyRange)) return error;
  if (auto error = check_range("presence_penalty", p.presence_penalty, kPenaltyRange)) return error;
  if (auto error = check_range("frequency_penalty", p.frequency_penalty, kPenaltyRange)) return error;
  if (p.max_tokens < 1) return refuse("max_tokens", "at least 1", p.max_tokens);
  if (p.min_tokens < 0 || p.min_tokens > p.max_tokens)
    return refuse("min_tokens", "between 0 and max_tokens", p.min_tokens);
  if (auto error = check_lists(p, vocab_size)) return error;
  if (p.num_logprobs < -1 || p.num_logprobs > kMaxLogprobs) {
    return refuse("logprobs", fmt::format("between 0 and {}", kMaxLogprobs), p.num_logprobs);
  }
  if (p.num_prompt_logprobs < -1 || p.num_prompt_logprobs > kMaxLogprobs) {
    return refuse("prompt_logprobs", fmt::format("between 0 and {}", kMaxLogprobs), p.num_prompt_logprobs);
  }
  return std::nullopt;
}

}  // namespace echelon
