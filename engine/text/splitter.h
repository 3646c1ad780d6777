// Pre-tokenizers: cut a text into the pieces that merging never crosses. The known patterns are written by hand, in
// linear time; any other pattern of a tokenizer.json runs in PCRE2 with match limits. Splitters are immutable and
// thread-safe.
#pragma once

#include <bitset>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace echelon {

class Splitter {
 public:
  virtual ~Splitter() = default;
  /// Appends the pieces of `text` in order, as views into it. A regex splitter throws Error(Part::text) at its limit.
  virtual void split(std::string_view text, std::vector<std::string_view>& pieces) const = 0;
};

/// What is done with the matches of a pattern, as tokenizer.json names it.
enum class SplitBehavior { isolated, removed, merged_with_previous, merged_with_next };

/// The pattern GPT-2 was trained with.
std::unique_ptr<const Splitter> make_gpt2_splitter();
/// Llama-3's pattern (numbers in groups of up to three digits) and Qwen2's (digits one by one).
std::unique_ptr<const Splitter> make_llama3_splitter(size_t max_digits);
/// Cuts numbers out: each digit on its own, or runs of them.
std::unique_ptr<const Splitter> make_digit_splitter(bool individual);
/// Cuts at a fixed text, which is not empty.
std::unique_ptr<const Splitter> make_literal_splitter(std::string literal, SplitBehavior behavior);

/// Which characters stand next to each other in some token: where two do not, no merge crosses, so that a text may be
/// cut there and merged word by word. May say yes too often, never no: a bit for each hash of a pair.
class JoinedPairs {
 public:
  void add(char32_t left, char32_t right) { bits_.set(place_of(left, right)); }
  bool holds(char32_t left, char32_t right) const { return bits_.test(place_of(left, right)); }

 private:
  static constexpr size_t kSizeBits = 20;
  /// Of two Latin characters: a place of their own.
  static size_t place_of(char32_t left, char32_t right) {
    const uint64_t pair = (uint64_t{left} << 8) + right;
    return static_cast<size_t>(pair ^ (pair >> kSizeBits) * 0x9e3779b1u) & ((size_t{1} << kSizeBits) - 1);
  }
  std::bitset<size_t{1} << kSizeBits> bits_;
};

/// Cuts between characters that no token joins; with `before_spaces`, only before a metaspace (U+2581). The tokens stay
/// the same, and short words come again more often.
std::unique_ptr<const Splitter> make_word_splitter(std::unique_ptr<const JoinedPairs> joined, bool before_spaces);

/// A pattern in the syntax of tokenizer.json: the hand-written splitter when it is known, PCRE2 otherwise.
/// Throws Error(Part::text) when PCRE2 refuses the pattern.
std::unique_ptr<const Splitter> make_pattern_splitter(const std::string& pattern, SplitBehavior behavior);

/// Gives out the text between two matches, and the match, as the behaviour wants. Matches come in order; the last call
/// has begin = end = text.size().
class MatchCutter {
 public:
  MatchCutter(std::string_view text, SplitBehavior behavior, std::vector<std::string_view>& pieces)
      : text_(text), behavior_(behavior), pieces_(pieces) {}
  void match(size_t begin, size_t end);
  void finish();

 private:
  void put(size_t begin, size_t end);

  std::string_view text_;
  SplitBehavior behavior_;
  std::vector<std::string_view>& pieces_;
  size_t done_ = 0;  ///< everything before is in a piece or removed
};

}  // namespace echelon
