// A vocabulary as a tree of bytes, laid out for one walk from front to back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/token.h"

namespace echelon {

/// Nodes in depth-first order, children by byte; tokens in the order of their nodes, so those of a subtree are
/// consecutive. Immutable.
class TokenTrie {
 public:
  /// bytes[id]: what a token stands for; empty: never a part of a text (control tokens). Bytes are copied.
  /// in[id]: only these have nodes; empty: all.
  explicit TokenTrie(std::span<const std::string_view> bytes, const std::vector<bool>& in = {});

  /// Without the root, which is the empty text.
  int32_t num_nodes() const { return static_cast<int32_t>(bytes_.size()); }
  uint8_t byte(int32_t node) const { return bytes_[static_cast<size_t>(node)]; }
  int depth(int32_t node) const { return depths_[static_cast<size_t>(node)]; }  ///< of a child of the root: 0
  /// Behind the last node below this one.
  int32_t end(int32_t node) const { return ends_[static_cast<size_t>(node)]; }
  std::span<const TokenId> tokens_at(int32_t node) const {
    return tokens(first_tokens_[static_cast<size_t>(node)], first_tokens_[static_cast<size_t>(node) + 1]);
  }
  /// All tokens whose text begins with this byte have nodes in [first, end).
  struct Range {
    int32_t first = 0, end = 0;
  };
  Range children_by(uint8_t byte) const { return by_byte_[byte]; }
  int max_depth() const { return max_depth_; }

  std::string_view token_bytes(TokenId id) const {
    const auto at = static_cast<size_t>(id);
    return std::string_view(text_).substr(text_offsets_[at], text_offsets_[at + 1] - text_offsets_[at]);
  }
  int64_t num_ids() const { return static_cast<int64_t>(text_offsets_.size()) - 1; }

 private:
  std::span<const TokenId> tokens(int32_t first, int32_t end) const {
    return std::span(tokens_).subspan(static_cast<size_t>(first), static_cast<size_t>(end - first));
  }
  std::vector<uint8_t> bytes_;
  std::vector<uint16_t> depths_;
  std::vector<int32_t> ends_;
  std::vector<int32_t> first_tokens_;  ///< [node + 1], into tokens_
  std::vector<TokenId> tokens_;
  Range by_byte_[256];
  int max_depth_ = 0;
  std::string text_;
  std::vector<size_t> text_offsets_;
};

}  // namespace echelon
