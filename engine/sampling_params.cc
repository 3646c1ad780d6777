#include "engine/sampling_params.h"

#include <fmt/format.h>

#include <cmath>

namespace echelon {
namespace {

std::optional<RequestError> refuse(const char* param, const std::string& expected, double value) {
  return RequestError{.message = fmt::format("'{}' must be {}, got {}", param, expected, value), .param = param};
}

}  // namespace

std::optional<RequestError> validate(const SamplingParams& p, int64_t vocab_size) {
  // Written so that a NaN fails every test.
  if (!(p.temperature >= 0 && p.temperature <= 100)) return refuse("temperature", "between 0 and 100", p.temperature);
  if (p.temperature != 0 && p.temperature < 0.001f) return refuse("temperature", "0 or at least 0.001", p.temperature);
  if (p.top_k < -1) return refuse("top_k", "-1 or 0 (all), or at least 1", p.top_k);
  if (!(p.top_p > 0 && p.top_p <= 1)) return refuse("top_p", "in (0, 1]", p.top_p);
  if (!(p.min_p >= 0 && p.min_p <= 1)) return refuse("min_p", "between 0 and 1", p.min_p);
  if (!(p.repetition_penalty >= 0.01f && p.repetition_penalty <= 100)) {
    return refuse("repetition_penalty", "between 0.01 and 100", p.repetition_penalty);
  }
  if (!(p.presence_penalty >= -2 && p.presence_penalty <= 2))
    return refuse("presence_penalty", "between -2 and 2", p.presence_penalty);
  if (!(p.frequency_penalty >= -2 && p.frequency_penalty <= 2)) {
    return refuse("frequency_penalty", "between -2 and 2", p.frequency_penalty);
  }
  if (p.max_tokens < 1) return refuse("max_tokens", "at least 1", p.max_tokens);
  if (p.min_tokens < 0 || p.min_tokens > p.max_tokens)
    return refuse("min_tokens", "between 0 and max_tokens", p.min_tokens);
  if (p.stop_token_ids.size() > kMaxStopTokens) {
    return refuse("stop_token_ids", fmt::format("at most {} ids", kMaxStopTokens),
                  static_cast<double>(p.stop_token_ids.size()));
  }
  for (const TokenId token : p.stop_token_ids) {
    if (token < 0 || token >= vocab_size)
      return refuse("stop_token_ids", fmt::format("ids below {}", vocab_size), token);
  }
  if (p.num_logprobs < -1 || p.num_logprobs > kMaxLogprobs) {
    return refuse("logprobs", fmt::format("between 0 and {}", kMaxLogprobs), p.num_logprobs);
  }
  if (p.num_prompt_logprobs < -1 || p.num_prompt_logprobs > kMaxLogprobs) {
    return refuse("prompt_logprobs", fmt::format("between 0 and {}", kMaxLogprobs), p.num_prompt_logprobs);
  }
  return std::nullopt;
}

}  // namespace echelon
