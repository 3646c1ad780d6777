// Text -> token, for a merger's look-ups: open-addressed, short texts in their slots. Most texts that are not
// there are refused by a filter that fits a cache.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/text_hash.h"
#include "kernels/base/token.h"

namespace echelon {

class PieceTable {
 public:
  /// The first of two equal texts stays.
  void add(std::string_view text, TokenId id) {
    if (pieces_.size() * 2 >= slots_.size()) grow();
    const uint64_t hash = text_hash(text);
    Slot& slot = slots_[find_slot(text, hash)];
    if (slot.id >= 0) return;
    slot = slot_for(text, hash, pieces_.size(), id);
    pieces_.push_back({static_cast<uint32_t>(texts_.size()), static_cast<uint32_t>(text.size()), id});
    texts_ += text;
    set_filter(hash);
  }
  /// -1: no piece reads so.
  TokenId find(std::string_view text) const {
    const uint64_t hash = text_hash(text);
    return may_hold(hash) ? slots_[find_slot(text, hash)].id : -1;
  }
  /// Calls `function(text, id)` for every piece in the order in which they came.
  template <typename Function>
  void for_each(const Function& function) const {
    for (const Piece& piece : pieces_) function(text_of(piece), piece.id);
  }

 private:
  struct Piece {
    uint32_t begin, size;
    TokenId id;
  };
  /// A short text is in its slot.
  struct Slot {
    uint64_t key = 0;     ///< short_key, or the hash of a longer text
    uint32_t number = 0;  ///< a short text's size; of a longer one kShortBytes + 1 + its place in pieces_
    TokenId id = -1;      ///< -1: empty
  };

  std::string_view text_of(const Piece& piece) const { return {texts_.data() + piece.begin, piece.size}; }
  static Slot slot_for(std::string_view text, uint64_t hash, size_t place, TokenId id) {
    if (text.size() <= kShortBytes) return {short_key(text), static_cast<uint32_t>(text.size()), id};
    return {hash, static_cast<uint32_t>(kShortBytes + 1 + place), id};
  }
  bool is_at(const Slot& slot, std::string_view text, uint64_t hash) const {
    if (text.size() <= kShortBytes) return slot.key == short_key(text) && slot.number == text.size();
    return slot.key == hash && slot.number > kShortBytes && text_of(pieces_[slot.number - kShortBytes - 1]) == text;
  }
  /// Of the text, or the empty one where it would be.
  size_t find_slot(std::string_view text, uint64_t hash) const {
    size_t slot = static_cast<size_t>(hash >> 32) & (slots_.size() - 1);
    while (slots_[slot].id >= 0 && !is_at(slots_[slot], text, hash)) slot = (slot + 1) & (slots_.size() - 1);
    return slot;
  }
  bool may_hold(uint64_t hash) const {
    const size_t bit = hash >> 20 & (filter_.size() * 64 - 1);
    return !filter_.empty() && (filter_[bit / 64] >> bit % 64 & 1) != 0;
  }
  void set_filter(uint64_t hash) {
    const size_t bit = hash >> 20 & (filter_.size() * 64 - 1);
    filter_[bit / 64] |= uint64_t{1} << bit % 64;
  }
  void grow() {
    slots_.assign(slots_.empty() ? 64 : slots_.size() * 2, {});
    filter_.assign(slots_.size() / 16, 0);
    for (size_t place = 0; place < pieces_.size(); ++place) {
      const std::string_view text = text_of(pieces_[place]);
      const uint64_t hash = text_hash(text);
      slots_[find_slot(text, hash)] = slot_for(text, hash, place, pieces_[place].id);
      set_filter(hash);
    }
  }

  std::string texts_;  ///< one after another
  std::vector<Piece> pieces_;
  std::vector<Slot> slots_;       ///< a power of two, at most half full
  std::vector<uint64_t> filter_;  ///< four bits a slot, by hash: no bit, no piece; smaller than the slots by far
};

}  // namespace echelon
