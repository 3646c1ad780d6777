// The tokens of a model as grammars need them: by their bytes, and plain text by its length.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine/grammar/automaton.h"
#include "engine/grammar/token_trie.h"
#include "kernels/base/token.h"

namespace echelon {

class Tokenizer;

/// Most of a vocabulary is plain text: whole characters from the space on, without quote and backslash. Where so many
/// of any of them may follow (inside strings) tokens of at most so many are allowed without looking at each.
inline constexpr int kMaxPlainLength = 16;

/// A control token is in a text only where a grammar says so by name: it stands for this byte, which is nowhere in
/// UTF-8, and its spelling.
inline constexpr char kControlByte = '\xFF';

/// What all grammars of one model share. Immutable.
class GrammarVocabulary {
 public:
  /// bytes[id]: what a token stands for; empty: in no text. end_tokens end a generation: they are allowed where a text
  /// may end, and nowhere else. width: of the logits; no id above it.
  GrammarVocabulary(std::span<const std::string_view> bytes, std::vector<TokenId> end_tokens, int64_t width);

  const TokenTrie& all() const { return all_; }
  const TokenTrie& not_plain() const { return not_plain_; }  ///< also plain ones that are longer than kMaxPlainLength
  /// Plain tokens of at most so many characters, as words of a TokenMask. length: [0, kMaxPlainLength]
  std::span<const uint64_t> plain(int length) const { return plain_[static_cast<size_t>(length)]; }
  std::span<const TokenId> end_tokens() const { return end_tokens_; }
  bool is_end(TokenId token) const;
  int64_t width() const { return width_; }

 private:
  TokenTrie all_, not_plain_;
  std::array<std::vector<uint64_t>, kMaxPlainLength + 1> plain_;
  std::vector<TokenId> end_tokens_;
  int64_t width_;
};

/// Special tokens are kControlByte and their spelling. End tokens are in no text, nor are ids from `width` on, which
/// cannot be sampled.
std::shared_ptr<const GrammarVocabulary> make_grammar_vocabulary(const Tokenizer& tokenizer,
                                                                 std::vector<TokenId> end_tokens, int64_t width);

/// For every state of an automaton, how many plain characters may follow whichever they are; at most kMaxPlainLength.
std::vector<uint8_t> plain_lengths(const Automaton& automaton);

}  // namespace echelon
