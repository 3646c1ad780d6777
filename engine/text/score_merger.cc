// SentencePiece's merging: of all neighbours whose joined text is a token, the best score merges first.
// A heap entry whose symbols have merged since is seen by its length, which no longer fits.
#include <algorithm>
#include <queue>

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
  explicit ScoreMerger(ScoreMergerSetup setup) : setup_(std::move(setup)) {
    for (const auto& [text, id] : setup_.pieces) longest_ = std::max(longest_, text.size());
  }

  void append_tokens(std::string_view piece, std::vector<TokenId>& out) const override {
    std::vector<Symbol> symbols;
    for (size_t at = 0; at < piece.size();) {
      const size_t length = read_code_point(piece, at).num_bytes;
      const auto place = static_cast<int32_t>(symbols.size());
      symbols.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(length), place - 1, place + 1});
      at += length;
    }
    if (symbols.empty()) return;
    symbols.back().next = -1;
    merge(piece, symbols);
    for (const Symbol& symbol : symbols) {
      if (symbol.length != 0) append_symbol(piece.substr(symbol.begin, symbol.length), out);
    }
  }

 private:
  std::optional<TokenId> id_of(std::string_view text) const {
    if (text.size() > longest_) return std::nullopt;
    const auto found = setup_.pieces.find(text);
    return found == setup_.pieces.end() ? std::nullopt : std::optional(found->second);
  }

  void merge(std::string_view piece, std::vector<Symbol>& symbols) const {
    std::vector<Candidate> storage;
    storage.reserve(symbols.size());
    std::priority_queue<Candidate> heap(std::less<Candidate>(), std::move(storage));
    const auto offer = [&](int32_t left) {
      if (left < 0 || symbols[left].next < 0) return;
      const uint32_t length = symbols[left].length + symbols[symbols[left].next].length;
      if (const auto id = id_of(piece.substr(symbols[left].begin, length))) {
        heap.push({setup_.scores[static_cast<size_t>(*id)], left, length});
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
    if (const auto id = id_of(text)) {
      out.push_back(*id);
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

  ScoreMergerSetup setup_;
  size_t longest_ = 0;
};

}  // namespace

std::unique_ptr<const Merger> make_score_merger(ScoreMergerSetup setup) {
  return std::make_unique<ScoreMerger>(std::move(setup));
}

}  // namespace echelon
