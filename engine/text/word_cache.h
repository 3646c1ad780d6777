// The tokens of words that a thread has merged before: a word that comes again is one look-up. Direct-mapped, so that
// it never grows: a word takes the place of the one that was there.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "engine/text/text_hash.h"
#include "kernels/base/token.h"

namespace echelon {

class WordCache {
 public:
  /// Of the words of one tokenizer at a time: forgets all when it is another than before.
  void use_for(uint64_t tokenizer) {
    if (tokenizer_ == tokenizer) return;
    tokenizer_ = tokenizer;
    entries_.assign(size_t{1} << kSizeBits, {});
  }
  /// Appends the tokens of the word; false: it is not there.
  bool append_tokens(std::string_view word, std::vector<TokenId>& out) const {
    const Entry& entry = entries_[place_of(word)];
    if (entry.num_bytes != word.size() || !same_bytes(entry.data.data(), word.data(), word.size())) return false;
    const char* id = entry.data.data() + word.size();
    for (uint8_t i = 0; i < entry.num_ids; ++i, id += sizeof(TokenId)) {  // one or two: no call for them
      TokenId token;
      std::memcpy(&token, id, sizeof token);
      out.push_back(token);
    }
    return true;
  }
  void prefetch(std::string_view word) const { __builtin_prefetch(&entries_[place_of(word)]); }
  /// A word that has no room in an entry is not kept.
  void put(std::string_view word, std::span<const TokenId> ids) {
    Entry& entry = entries_[place_of(word)];
    if (word.size() + ids.size_bytes() > entry.data.size()) return;
    entry.num_bytes = static_cast<uint8_t>(word.size());
    entry.num_ids = static_cast<uint8_t>(ids.size());
    std::memcpy(entry.data.data(), word.data(), word.size());
    std::memcpy(entry.data.data() + word.size(), ids.data(), ids.size_bytes());
  }

 private:
  static constexpr int kSizeBits = 16;  ///< 4 MiB
  struct alignas(64) Entry {
    uint8_t num_bytes = 0, num_ids = 0;  ///< 0 bytes: empty
    std::array<char, 62> data{};         ///< the word and, behind it, its tokens
  };

  static size_t place_of(std::string_view word) { return text_hash(word) >> (64 - kSizeBits); }

  uint64_t tokenizer_ = 0;  ///< 0: none yet
  std::vector<Entry> entries_;
};

}  // namespace echelon
