// How well a model foresees a text: windows of its tokens, and what their log-probabilities come to. As llama.cpp's
// llama-perplexity has it: windows follow each other without overlap, each begins with BOS where the model has one, and
// the second half of each counts, so that every counted token has half a window before it. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/base/token.h"

namespace echelon {

/// Whole windows of `size` tokens (>= 4); what is left over at the end is not looked at. `bos` takes the place of the
/// first token of each.
std::vector<std::vector<TokenId>> windows_of(std::span<const TokenId> tokens, size_t size, std::optional<TokenId> bos);

/// The first token of a window that counts; all behind it do.
inline size_t first_counted(size_t window_size) { return window_size / 2 + 1; }

/// Added up in the order of windows, so that it does not depend on which ended first.
class PerplexitySum {
 public:
  /// Natural log-probabilities of the counted tokens, and how many bytes of text they stand for.
  void add(std::span<const float> logprobs, int64_t num_bytes);

  int64_t num_tokens() const { return num_tokens_; }
  double perplexity() const;
  double perplexity_error() const;  ///< one standard error
  double bits_per_byte() const;

 private:
  double sum_ = 0, squares_ = 0;  ///< of negative log-probabilities
  int64_t num_tokens_ = 0, num_bytes_ = 0;
};

}  // namespace echelon
