// Finds special tokens (control, user-defined, added) in a text and cuts it at them: leftmost first, longest at one
// place. Cost: O(text * longest special token), and nearly nothing where no token's first two bytes are.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/base/token.h"

namespace echelon {

struct SpecialToken {
  std::string text;
  TokenId id = 0;
  bool strip_left = false;   ///< takes white space before it along
  bool strip_right = false;  ///< takes white space after it along
  bool whole_word = false;   ///< only where no letter, digit or underscore is next to it
};

/// A part of a text: a special token, or text between two of them.
struct TextFragment {
  std::string_view text;
  std::optional<TokenId> id;
};

class SpecialTokenMatcher {
 public:
  /// Tokens with an empty text, and repetitions of a text, are ignored.
  void add(SpecialToken token);
  bool empty() const { return tokens_.empty(); }
  /// Appends the fragments of the text in order; never an empty one without an id.
  void cut(std::string_view text, std::vector<TextFragment>& out) const;

 private:
  /// Cheap: no where no token's first two bytes are, nor the next two of one that has so many.
  bool may_match(std::string_view text, size_t at) const {
    if (at + 1 == text.size()) return true;
    const size_t pair = pair_of(text[at], text[at + 1]);
    if (!begins_[pair]) return false;
    return short_begins_[pair] || at + 3 >= text.size() || continues_[pair_of(text[at + 2], text[at + 3])];
  }
  static size_t pair_of(char first, char second) {
    return static_cast<size_t>(static_cast<uint8_t>(first)) << 8 | static_cast<uint8_t>(second);
  }
  const SpecialToken* match(std::string_view text, size_t at) const;
  static uint64_t step_of(uint32_t node, char byte) { return uint64_t{node} << 8 | static_cast<uint8_t>(byte); }

  std::vector<SpecialToken> tokens_;
  std::bitset<size_t{1} << 16> begins_;                          ///< by the first two bytes
  std::bitset<size_t{1} << 16> short_begins_;                    ///< likewise, of tokens of fewer than four
  std::bitset<size_t{1} << 16> continues_;                       ///< by the third and fourth
  std::bitset<size_t{1} << 16> goes_on_;                         ///< likewise: a token has both
  std::unordered_map<uint64_t, uint32_t> steps_;                 ///< of a trie: node and byte -> node; 0 is the root
  std::vector<int32_t> token_ends_ = {-1};                       ///< by node: which token ends there; -1: none
  std::vector<int32_t> single_ = std::vector<int32_t>(256, -1);  ///< by byte: the token that it is alone; -1: none
};

}  // namespace echelon
