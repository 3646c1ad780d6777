// Merging a short word: the possible merges in an array that is searched from the left for the best, again and again.
// O(n^2) for n symbols, and faster than a list and a heap as long as they are few.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace echelon {

/// What stands in front goes first: the order of a merge above, its token below.
using MergeKey = uint64_t;
inline constexpr MergeKey kNoMerge = ~MergeKey{0};
inline constexpr size_t kFewSymbols = 64;  ///< words of more take the heap

/// Merges neighbours, lowest key first and leftmost among equals, until none merge; returns how many symbols are left.
/// At most kFewSymbols. `key_of(left, right)`: the key of a pair or kNoMerge; `join(left, right, key)`: makes left
/// both.
template <typename Symbol, typename KeyOf, typename Join>
size_t merge_few(Symbol* symbols, size_t count, const KeyOf& key_of, const Join& join) {
  std::array<MergeKey, kFewSymbols> keys;  // keys[i]: of symbols i and i + 1
  for (size_t i = 0; i + 1 < count; ++i) keys[i] = key_of(symbols[i], symbols[i + 1]);
  while (count > 1) {
    MergeKey least = keys[0];
    for (size_t i = 1; i + 1 < count; ++i) least = std::min(least, keys[i]);
    if (least == kNoMerge) break;
    size_t at = 0;
    while (keys[at] != least) ++at;
    join(symbols[at], symbols[at + 1], least);
    std::copy(symbols + at + 2, symbols + count, symbols + at + 1);
    std::copy(keys.begin() + at + 1, keys.begin() + count - 1, keys.begin() + at);
    --count;
    if (at > 0) keys[at - 1] = key_of(symbols[at - 1], symbols[at]);
    if (at + 1 < count) keys[at] = key_of(symbols[at], symbols[at + 1]);
  }
  return count;
}

}  // namespace echelon
