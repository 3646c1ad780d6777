// Text -> token, for a merger's look-ups: open-addressed, the texts in one buffer. Most texts that are not there are
// refused by a filter that fits a cache.
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
    if (num_pieces_ * 2 >= slots_.size()) grow();
    const uint64_t hash = text_hash(text);
    size_t slot = find_slot(text, hash);
    if (slots_[slot].id >= 0) return;
    slots_[slot] = {static_cast<uint32_t>(hash), static_cast<uint32_t>(texts_.size()),
                    static_cast<uint32_t>(text.size()), id};
    texts_ += text;
    set_filter(hash);
    ++num_pieces_;
  }
  /// -1: no piece reads so.
  TokenId find(std::string_view text) const {
    const uint64_t hash = text_hash(text);
    return may_hold(hash) ? slots_[find_slot(text, hash)].id : -1;
  }
  /// Calls `function(text, id)` for every piece, in no order.
  template <typename Function>
  void for_each(const Function& function) const {
    for (const Slot& slot : slots_) {
      if (slot.id >= 0) function(text_of(slot), slot.id);
    }
  }

 private:
  struct Slot {
    uint32_t tag = 0;  ///< low bits of the hash
    uint32_t begin = 0, size = 0;
    TokenId id = -1;  ///< -1: empty
  };

  std::string_view text_of(const Slot& slot) const { return {texts_.data() + slot.begin, slot.size}; }
  /// Of the text, or the empty one where it would be.
  size_t find_slot(std::string_view text, uint64_t hash) const {
    size_t slot = place_of(hash);
    for (; slots_[slot].id >= 0; slot = (slot + 1) & (slots_.size() - 1)) {
      const Slot& here = slots_[slot];
      const bool may_be = here.tag == static_cast<uint32_t>(hash) && here.size == text.size();
      if (may_be && same_bytes(texts_.data() + here.begin, text.data(), text.size())) break;
    }
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
  size_t place_of(uint64_t hash) const { return static_cast<size_t>(hash >> 32) & (slots_.size() - 1); }
  void grow() {
    std::vector<Slot> before(slots_.empty() ? 64 : slots_.size() * 2);
    before.swap(slots_);
    filter_.assign(slots_.size() / 16, 0);
    for (const Slot& slot : before) {
      if (slot.id < 0) continue;
      const uint64_t hash = text_hash(text_of(slot));
      slots_[find_slot(text_of(slot), hash)] = slot;
      set_filter(hash);
    }
  }

  std::string texts_;             ///< one after another
  std::vector<Slot> slots_;       ///< a power of two, at most half full
  std::vector<uint64_t> filter_;  ///< four bits a slot, by hash: no bit, no piece; smaller than the slots by far
  size_t num_pieces_ = 0;
};

}  // namespace echelon
