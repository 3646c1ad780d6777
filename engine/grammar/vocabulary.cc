#include "engine/grammar/vocabulary.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <set>
#include <string>

#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"
#include "engine/token_mask.h"

namespace echelon {
namespace {

bool is_plain_byte(int byte) { return byte >= ' ' && byte <= 0x7F && byte != '"' && byte != '\\'; }

/// Characters of a plain text; nothing for others.
std::optional<int> plain_length(std::string_view text) {
  int length = 0;
  for (size_t at = 0; at < text.size(); ++length) {
    const CodePoint point = read_code_point(text, at);
    if (!point.valid || (point.num_bytes == 1 && !is_plain_byte(static_cast<uint8_t>(text[at])))) return std::nullopt;
    at += point.num_bytes;
  }
  return length;
}

bool is_short_and_plain(std::string_view text) {
  return plain_length(text).value_or(kMaxPlainLength + 1) <= kMaxPlainLength;
}

std::vector<bool> others(std::span<const std::string_view> bytes) {
  std::vector<bool> result;
  for (const std::string_view text : bytes) result.push_back(!is_short_and_plain(text));
  return result;
}

/// The least of what follows all bytes of a range, in classes.
class PlainLengths {
 public:
  explicit PlainLengths(const Automaton& automaton) : automaton_(automaton) {
    std::set<uint8_t> ascii;
    for (int byte = 0; byte < 128; ++byte) {
      if (is_plain_byte(byte)) ascii.insert(automaton.class_of[static_cast<size_t>(byte)]);
    }
    ascii_.assign(ascii.begin(), ascii.end());
    lengths_.assign(automaton.accepting.size(), kMaxPlainLength);
  }

  std::vector<uint8_t> find() {
    std::vector<int32_t> open;  // those that take every plain byte
    for (int32_t state = 0; state < automaton_.num_states(); ++state) {
      const bool takes_all = std::all_of(ascii_.begin(), ascii_.end(), [&](uint8_t c) { return next(state, c) >= 0; });
      if (takes_all) {
        open.push_back(state);
      } else {
        lengths_[static_cast<size_t>(state)] = 0;
      }
    }
    for (bool changed = true; changed;) {  // from above, until all of them are right
      changed = false;
      for (const int32_t state : open) {
        const int length = std::min(1 + least(state), kMaxPlainLength);
        if (length == lengths_[static_cast<size_t>(state)]) continue;
        lengths_[static_cast<size_t>(state)] = static_cast<uint8_t>(length);
        changed = true;
      }
    }
    return std::move(lengths_);
  }

 private:
  int32_t next(int32_t state, uint8_t byte_class) const {
    return automaton_.next[static_cast<size_t>(state) * static_cast<size_t>(automaton_.num_classes) + byte_class];
  }
  int length(int32_t state) const { return state < 0 ? -1 : lengths_[static_cast<size_t>(state)]; }

  int least(int32_t state) const {
    int result = kMaxPlainLength;
    for (const uint8_t c : ascii_) result = std::min(result, length(next(state, c)));
    // The well-formed sequences of UTF-8 (The Unicode Standard, table 3-7).
    struct Sequence {
      int first, last;  // lead bytes
      int second_first = 0x80, second_last = 0xBF;
      int num_more = 0;  // continuation bytes after the second
    };
    constexpr Sequence kSequences[] = {{0xC2, 0xDF},
                                       {0xE0, 0xE0, 0xA0, 0xBF, 1},
                                       {0xE1, 0xEC, 0x80, 0xBF, 1},
                                       {0xED, 0xED, 0x80, 0x9F, 1},
                                       {0xEE, 0xEF, 0x80, 0xBF, 1},
                                       {0xF0, 0xF0, 0x90, 0xBF, 2},
                                       {0xF1, 0xF3, 0x80, 0xBF, 2},
                                       {0xF4, 0xF4, 0x80, 0x8F, 2}};
    for (const Sequence& sequence : kSequences) {
      result = std::min(result, over(state, sequence.first, sequence.last, [&](int32_t lead) {
                          return over(lead, sequence.second_first, sequence.second_last,
                                      [&](int32_t second) { return continued(second, sequence.num_more); });
                        }));
      if (result < 0) break;
    }
    return result;
  }

  int continued(int32_t state, int num_more) const {
    if (num_more == 0 || state < 0) return length(state);
    return over(state, 0x80, 0xBF, [&](int32_t to) { return continued(to, num_more - 1); });
  }

  /// The least that `of` says of the states behind the bytes of a range. Bytes of one class are looked at once.
  template <typename Of>
  int over(int32_t state, int first, int last, Of of) const {
    if (state < 0) return -1;
    int result = kMaxPlainLength;
    int before = -1;
    for (int byte = first; byte <= last && result >= 0; ++byte) {
      const uint8_t byte_class = automaton_.class_of[static_cast<size_t>(byte)];
      if (byte_class != before) result = std::min(result, of(next(state, byte_class)));
      before = byte_class;
    }
    return result;
  }

  const Automaton& automaton_;
  std::vector<uint8_t> ascii_;
  std::vector<uint8_t> lengths_;
};

}  // namespace

GrammarVocabulary::GrammarVocabulary(std::span<const std::string_view> bytes, std::vector<TokenId> end_tokens,
                                     int64_t width)
    : all_(bytes), not_plain_(bytes, others(bytes)), end_tokens_(std::move(end_tokens)), width_(width) {
  TokenMask mask(width);
  for (int length = 0; length <= kMaxPlainLength; ++length) {
    for (size_t id = 0; id < bytes.size(); ++id) {
      if (!bytes[id].empty() && plain_length(bytes[id]) == length) mask.allow(static_cast<TokenId>(id));
    }
    plain_[static_cast<size_t>(length)].assign(mask.words().begin(), mask.words().end());
  }
}

bool GrammarVocabulary::is_end(TokenId token) const {
  return std::find(end_tokens_.begin(), end_tokens_.end(), token) != end_tokens_.end();
}

std::shared_ptr<const GrammarVocabulary> make_grammar_vocabulary(const Tokenizer& tokenizer,
                                                                 std::vector<TokenId> end_tokens, int64_t width) {
  std::vector<std::string_view> bytes;
  std::deque<std::string> controls;
  const int64_t num_ids = std::min(tokenizer.vocabulary_size(), width);
  for (TokenId id = 0; id < num_ids; ++id) {
    const std::string_view text = tokenizer.token_bytes(id);
    if (tokenizer.is_special(id) && !text.empty()) {
      bytes.push_back(controls.emplace_back(1, kControlByte).append(text));
    } else {
      bytes.push_back(text.find(kControlByte) == text.npos ? text : std::string_view());
    }
  }
  std::erase_if(end_tokens, [&](TokenId id) { return id < 0 || id >= width; });
  for (const TokenId id : end_tokens) {
    if (id < num_ids) bytes[static_cast<size_t>(id)] = {};
  }
  return std::make_shared<const GrammarVocabulary>(bytes, std::move(end_tokens), width);
}

std::vector<uint8_t> plain_lengths(const Automaton& automaton) { return PlainLengths(automaton).find(); }

}  // namespace echelon
