// Byte-pair encoding by rank: the pair of neighbours with the lowest rank merges first, the leftmost among equals.
// A heap entry that no longer matches the list (one of its symbols has merged since) is dropped when it comes up.
#include <algorithm>
#include <array>
#include <queue>

#include "engine/text/merge_few.h"
#include "engine/text/merger.h"
#include "engine/text/utf8.h"

namespace echelon {

MergeTable::MergeTable(size_t num_merges) {
  size_t size = 16;
  while (size < num_merges * 2) size *= 2;
  slots_.resize(size);
}

void MergeTable::add(const Entry& entry) {
  const uint64_t hash = hash_of(entry.left, entry.right);
  size_t slot = slot_of(hash);
  while (slots_[slot].left >= 0) {
    if (slots_[slot].left == entry.left && slots_[slot].right == entry.right) return;
    slot = (slot + 1) & (slots_.size() - 1);
  }
  slots_[slot] = entry;
  filter_.set(hash >> (64 - kFilterBits));
}

const MergeTable::Entry* MergeTable::find(TokenId left, TokenId right) const {
  const uint64_t hash = hash_of(left, right);
  if (!filter_[hash >> (64 - kFilterBits)]) return nullptr;
  size_t slot = slot_of(hash);
  while (slots_[slot].left >= 0) {
    if (slots_[slot].left == left && slots_[slot].right == right) return &slots_[slot];
    slot = (slot + 1) & (slots_.size() - 1);
  }
  return nullptr;
}

namespace {

constexpr TokenId kMergedAway = -1;

struct Symbol {
  TokenId id;
  int32_t previous, next;  ///< places in the list; -1: none
};

struct Candidate {
  int32_t rank;
  int32_t place;  ///< of the left symbol
  const MergeTable::Entry* merge;
  bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : place > other.place; }
};

class RankMerger final : public Merger {
 public:
  RankMerger(RankMergerSetup setup, MergeTable merges) : setup_(std::move(setup)), merges_(std::move(merges)) {}

  void append_tokens(std::string_view piece, std::vector<TokenId>& out) const override {
    if (piece.empty()) return;
    if (setup_.whole_piece_first) {
      if (const TokenId id = setup_.pieces.find(piece); id >= 0) {
        out.push_back(id);
        return;
      }
    }
    if (setup_.byte_level && piece.size() <= kFewSymbols) return merge_bytes(piece, out);
    std::vector<Symbol> symbols;
    symbols.reserve(piece.size());
    if (setup_.byte_level) {
      for (const char byte : piece) push(symbols, setup_.byte_ids[static_cast<uint8_t>(byte)]);
    } else {
      push_characters(symbols, piece);
    }
    merge(symbols);
    for (const Symbol& symbol : symbols) {
      if (symbol.id != kMergedAway) out.push_back(symbol.id);
    }
  }

 private:
  void merge_bytes(std::string_view piece, std::vector<TokenId>& out) const {
    std::array<TokenId, kFewSymbols> ids;
    size_t count = 0;
    for (const char byte : piece) {
      const TokenId id = setup_.byte_ids[static_cast<uint8_t>(byte)];
      if (id >= 0) ids[count++] = id;
    }
    const auto key_of = [&](TokenId left, TokenId right) {
      const auto* merge = merges_.find(left, right);
      return merge == nullptr
                 ? kNoMerge
                 : uint64_t{static_cast<uint32_t>(merge->rank)} << 32 | static_cast<uint32_t>(merge->merged);
    };
    const auto join = [](TokenId& left, TokenId, MergeKey key) { left = static_cast<TokenId>(key & 0xffff'ffffu); };
    count = merge_few(ids.data(), count, key_of, join);
    out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
  }

  static void push(std::vector<Symbol>& symbols, TokenId id) {
    if (id < 0) return;
    const auto place = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, place - 1, place + 1});
  }

  void push_characters(std::vector<Symbol>& symbols, std::string_view piece) const {
    bool unknown_before = false;
    for (size_t at = 0; at < piece.size();) {
      const CodePoint point = read_code_point(piece, at);
      const std::string_view character = piece.substr(at, point.num_bytes);
      at += point.num_bytes;
      if (const TokenId id = setup_.pieces.find(character); id >= 0) {
        push(symbols, id);
        unknown_before = false;
        continue;
      }
      const bool has_bytes = std::all_of(character.begin(), character.end(),
                                         [&](char byte) { return setup_.byte_ids[static_cast<uint8_t>(byte)] >= 0; });
      if (has_bytes) {
        for (const char byte : character) push(symbols, setup_.byte_ids[static_cast<uint8_t>(byte)]);
        unknown_before = false;
      } else if (setup_.unknown_id) {
        if (!unknown_before || !setup_.fuse_unknown) push(symbols, *setup_.unknown_id);
        unknown_before = true;
      }
    }
  }

  void merge(std::vector<Symbol>& symbols) const {
    if (symbols.size() < 2) return;
    symbols.back().next = -1;
    std::vector<Candidate> storage;
    storage.reserve(symbols.size());
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap(std::greater<>(), std::move(storage));
    const auto offer = [&](int32_t left) {
      if (left < 0 || symbols[left].next < 0) return;
      const auto* merge = merges_.find(symbols[left].id, symbols[symbols[left].next].id);
      if (merge != nullptr) heap.push({merge->rank, left, merge});
    };
    for (size_t place = 0; place + 1 < symbols.size(); ++place) offer(static_cast<int32_t>(place));
    while (!heap.empty()) {
      const Candidate best = heap.top();
      heap.pop();
      Symbol& left = symbols[best.place];
      if (left.id != best.merge->left || left.next < 0 || symbols[left.next].id != best.merge->right) continue;
      Symbol& right = symbols[left.next];
      left.id = best.merge->merged;
      right.id = kMergedAway;
      left.next = right.next;
      if (left.next >= 0) symbols[left.next].previous = best.place;
      offer(left.previous);
      offer(best.place);
    }
  }

  RankMergerSetup setup_;
  MergeTable merges_;
};

}  // namespace

std::unique_ptr<const Merger> make_rank_merger(RankMergerSetup setup, MergeTable merges) {
  return std::make_unique<RankMerger>(std::move(setup), std::move(merges));
}

}  // namespace echelon
