// Which tokens of a vocabulary may be sampled: one bit each.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/base/token.h"

namespace echelon {

class TokenMask {
 public:
  /// None of [0, width) is allowed.
  explicit TokenMask(int64_t width = 0) : words_(num_words(width), 0), width_(width) {}
  static size_t num_words(int64_t width) { return static_cast<size_t>((width + 63) / 64); }

  int64_t width() const { return width_; }
  bool allows(TokenId token) const { return (words_[static_cast<size_t>(token) / 64] >> (token % 64) & 1) != 0; }
  void allow(TokenId token) { words_[static_cast<size_t>(token) / 64] |= uint64_t{1} << (token % 64); }
  void forbid(TokenId token) { words_[static_cast<size_t>(token) / 64] &= ~(uint64_t{1} << (token % 64)); }
  /// words: of a mask of the same width.
  void allow(std::span<const uint64_t> words) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] |= words[i];
  }
  void clear() { std::fill(words_.begin(), words_.end(), 0); }
  int64_t count() const {
    int64_t count = 0;
    for (const uint64_t word : words_) count += std::popcount(word);
    return count;
  }
  std::span<const uint64_t> words() const { return words_; }
  std::span<uint64_t> words() { return words_; }  ///< bits from width() on stay zero
  bool operator==(const TokenMask&) const = default;

 private:
  std::vector<uint64_t> words_;
  int64_t width_ = 0;
};

}  // namespace echelon
