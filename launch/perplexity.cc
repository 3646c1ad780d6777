#include "launch/perplexity.h"

#include <algorithm>
#include <cmath>

namespace echelon {

std::vector<std::vector<TokenId>> windows_of(std::span<const TokenId> tokens, size_t size, std::optional<TokenId> bos) {
  std::vector<std::vector<TokenId>> windows;
  for (size_t at = 0; at + size <= tokens.size(); at += size) {
    const auto window = tokens.subspan(at, size);
    windows.emplace_back(window.begin(), window.end());
    if (bos) windows.back().front() = *bos;
  }
  return windows;
}

void PerplexitySum::add(std::span<const float> logprobs, int64_t num_bytes) {
  for (const float logprob : logprobs) {
    sum_ -= logprob;
    squares_ += double{logprob} * logprob;
  }
  num_tokens_ += static_cast<int64_t>(logprobs.size());
  num_bytes_ += num_bytes;
}

double PerplexitySum::perplexity() const {
  return num_tokens_ > 0 ? std::exp(sum_ / static_cast<double>(num_tokens_)) : 0;
}

double PerplexitySum::perplexity_error() const {
  if (num_tokens_ < 2) return 0;
  const auto count = static_cast<double>(num_tokens_);
  const double mean = sum_ / count, variance = std::max(0.0, squares_ / count - mean * mean);
  return std::sqrt(variance / (count - 1)) * perplexity();
}

double PerplexitySum::bits_per_byte() const {
  return num_bytes_ > 0 ? sum_ / std::log(2.0) / static_cast<double>(num_bytes_) : 0;
}

}  // namespace echelon
