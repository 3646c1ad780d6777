// Pre-tokenizers: cut a text into the pieces that merging never crosses. The known patterns are written by hand, in
// linear time; any other pattern of a tokenizer.json runs in PCRE2 with match limits. Splitters are immutable and
// thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
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

/// Cuts before a metaspace (U+2581) that follows another character, unless that character is one of `joined`. With the
/// characters that stand before a metaspace inside some token, no merge could have crossed a cut: the tokens stay the
/// same, and merging works on words instead of the whole text.
std::unique_ptr<const Splitter> make_word_splitter(std::unordered_set<char32_t> joined);

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
