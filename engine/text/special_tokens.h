// Finds special tokens (control, user-defined, added) in a text and cuts it at them: leftmost first, longest at one
// place. Cost: O(text * lengths of special tokens that begin with the byte at hand), no backtracking.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/text/merger.h"
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
  const SpecialToken* match(std::string_view text, size_t at) const;

  std::unordered_map<std::string, SpecialToken, TextHash, std::equal_to<>> tokens_;
  std::array<std::vector<uint32_t>, 256> lengths_;  ///< by first byte, longest first
};

}  // namespace echelon
