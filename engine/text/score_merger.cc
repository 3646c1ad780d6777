// SentencePiece's merging: of all neighbours whose joined text is a token, the best score merges first.
// A heap entry whose symbols have merged since is seen by its length, which no longer fits.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <queue>

#include "engine/text/merge_few.h"
#include "engine/text/merger.h"
#include "engine/text/utf8.h"

namespace echelon {

namespace {

struct Symbol {
  uint32_t begin, length;  ///< bytes of the piece; length 0: merged into the one before
  int32_t previous, next;
};

struct Candidate {
  float score;
  int32_t left;
  uint32_t length;  ///< of the joined text
  bool operator<(const Candidate& other) const {
    return score != other.score ? score < other.score : left > other.left;
  }
};

class ScoreMerger final : public Merger {
 public:
  explicit ScoreMerger(ScoreMergerSetup setup)
      : setup_(std::move(setup)), ascii_pairs_(128 * 128, kNoMerge), is_whole_(setup_.scores.size()) {
    setup_.pieces.for_each([&](std::string_view text, TokenId id) {
      longest_ = std::max(longest_, text.size());
      if (text.size() == 2 && is_ascii(text[0]) && is_ascii(text[1]))
        ascii_pairs_[pair_of(text[0], text[1])] = key_of(id);
    });
  }

  void append_tokens(std::string_view piece, std::vector<TokenId>& out) const override {
    if (piece.size() <= kFewSymbols) return append_short(piece, out);
    std::vector<Symbol> symbols;
    for (size_t at = 0; at < piece.size();) {
      const size_t length = code_point_bytes(piece, at);
      const auto place = static_cast<int32_t>(symbols.size());
      symbols.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(length), place - 1, place + 1});
      at += length;
    }
    symbols.back().next = -1;
    merge(piece, symbols);
    for (const Symbol& symbol : symbols) {
      if (symbol.length != 0) append_symbol(piece.substr(symbol.begin, symbol.length), out);
    }
  }

 private:
  /// -1: none.
  TokenId id_of(std::string_view text) const { return text.size() > longest_ ? -1 : setup_.pieces.find(text); }

  /// The better score is the lower integer.
  MergeKey key_of(TokenId id) const {
    const auto bits = std::bit_cast<uint32_t>(setup_.scores[static_cast<size_t>(id)] + 0.0f);  // -0 and 0 are equal
    const uint32_t order = (bits & 0x8000'0000u) != 0 ? bits : ~bits & 0x7fff'ffffu;
    return MergeKey{order} << 32 | static_cast<uint32_t>(id);
  }
  static bool is_ascii(char c) { return (c & 0x80) == 0; }
  static size_t pair_of(char left, char right) { return static_cast<size_t>(left) << 7 | static_cast<size_t>(right); }

  void append_short(std::string_view piece, std::vector<TokenId>& out) const {
    if (const TokenId whole = id_of(piece); whole >= 0 && is_whole_[static_cast<size_t>(whole)].load(kRelaxed)) {
      out.push_back(whole);
      return;
    }
    struct Part {
      std::string_view text;
      TokenId id;  ///< -1: not merged, not looked up
    };
    std::array<Part, kFewSymbols> parts;
    size_t count = 0;
    for (size_t at = 0; at < piece.size(); at += parts[count++].text.size())
      parts[count] = {piece.substr(at, code_point_bytes(piece, at)), -1};
    const auto joined = [](const Part& left, const Part& right) {
      return std::string_view(left.text.data(), left.text.size() + right.text.size());  // they are neighbours
    };
    const auto key_of_pair = [&](const Part& left, const Part& right) {
      const std::string_view text = joined(left, right);
      if (text.size() == 2 && is_ascii(text[0]) && is_ascii(text[1])) return ascii_pairs_[pair_of(text[0], text[1])];
      const TokenId id = id_of(text);
      return id < 0 ? kNoMerge : key_of(id);
    };
    const auto join = [&](Part& left, const Part& right, MergeKey key) {
      left = {joined(left, right), static_cast<TokenId>(key & 0xffff'ffffu)};
    };
    count = merge_few(parts.data(), count, key_of_pair, join);
    if (count == 1 && parts[0].id >= 0) is_whole_[static_cast<size_t>(parts[0].id)].store(true, kRelaxed);
    for (size_t i = 0; i < count; ++i) {
      if (parts[i].id >= 0) {
        out.push_back(parts[i].id);
      } else {
        append_symbol(parts[i].text, out);
      }
    }
  }

  void merge(std::string_view piece, std::vector<Symbol>& symbols) const {
    std::vector<Candidate> storage;
    storage.reserve(symbols.size());
    std::priority_queue<Candidate> heap(std::less<Candidate>(), std::move(storage));
    const auto offer = [&](int32_t left) {
      if (left < 0 || symbols[left].next < 0) return;
      const uint32_t length = symbols[left].length + symbols[symbols[left].next].length;
      if (const TokenId id = id_of(piece.substr(symbols[left].begin, length)); id >= 0) {
        heap.push({setup_.scores[static_cast<size_t>(id)], left, length});
      }
    };
    for (size_t place = 0; place + 1 < symbols.size(); ++place) offer(static_cast<int32_t>(place));
    while (!heap.empty()) {
      const Candidate best = heap.top();
      heap.pop();
      Symbol& left = symbols[best.left];
      if (left.length == 0 || left.next < 0 || left.length + symbols[left.next].length != best.length) continue;
      Symbol& right = symbols[left.next];
      left.length = best.length;
      right.length = 0;
      left.next = right.next;
      if (left.next >= 0) symbols[left.next].previous = best.left;
      offer(left.previous);
      offer(best.left);
    }
  }

  void append_symbol(std::string_view text, std::vector<TokenId>& out) const {
    if (const TokenId id = id_of(text); id >= 0) {
      out.push_back(id);
      return;
    }
    const bool has_bytes = std::all_of(text.begin(), text.end(),
                                       [&](char byte) { return setup_.byte_ids[static_cast<uint8_t>(byte)] >= 0; });
    if (has_bytes) {
      for (const char byte : text) out.push_back(setup_.byte_ids[static_cast<uint8_t>(byte)]);
    } else if (setup_.unknown_id) {
      out.push_back(*setup_.unknown_id);
    }
  }

  static constexpr auto kRelaxed = std::memory_order_relaxed;
  ScoreMergerSetup setup_;
  size_t longest_ = 0;
  std::vector<MergeKey> ascii_pairs_;  ///< of two ASCII characters: most pairs that a word begins with
  /// By token: merging its text was seen to give it alone (which is always so, or never). Nearly half of the words that
  /// no cache holds are one token.
  mutable std::vector<std::atomic<bool>> is_whole_;
};

}  // namespace

std::unique_ptr<const Merger> make_score_merger(ScoreMergerSetup setup) {
  return std::make_unique<ScoreMerger>(std::move(setup));
}

}  // namespace echelon
