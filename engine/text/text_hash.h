// Hash and comparison of short texts, eight bytes at a time, without a call. For tables of what a model's files say and
// for caches: nothing that a client sends becomes a key of a table that grows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace echelon {

inline constexpr size_t kShortBytes = 8;

/// A number of its own for every text of one size, at most kShortBytes.
inline uint64_t short_key(std::string_view text) {
  const auto load = [&]<typename Integer>(Integer value, size_t at) {
    std::memcpy(&value, text.data() + at, sizeof value);
    return uint64_t{value};
  };
  const size_t size = text.size();
  if (size == 8) return load(uint64_t{}, 0);
  if (size >= 4) return load(uint32_t{}, 0) << 32 | load(uint32_t{}, size - 4);
  if (size == 0) return 0;
  return load(uint8_t{}, 0) << 16 | load(uint8_t{}, size / 2) << 8 | load(uint8_t{}, size - 1);
}

/// The high bits are the good ones: they depend on all of the text.
inline uint64_t text_hash(std::string_view text) {
  constexpr uint64_t kFactor = 0x9e3779b97f4a7c15u;
  uint64_t hash = text.size() << 56;
  for (; text.size() > kShortBytes; text.remove_prefix(kShortBytes)) {
    hash = (hash ^ short_key(text.substr(0, kShortBytes))) * kFactor;
    hash ^= hash >> 32;
  }
  hash = (hash ^ short_key(text)) * kFactor;
  return (hash ^ hash >> 32) * kFactor;
}

/// Are the first `size` bytes the same?
inline bool same_bytes(const char* a, const char* b, size_t size) {
  const auto differ = [&]<typename Integer>(Integer of_a, size_t at) {
    Integer of_b;
    std::memcpy(&of_a, a + at, sizeof of_a);
    std::memcpy(&of_b, b + at, sizeof of_b);
    return of_a != of_b;
  };
  if (size >= 8) {
    for (size_t at = 0; at + 8 < size; at += 8) {
      if (differ(uint64_t{}, at)) return false;
    }
    return !differ(uint64_t{}, size - 8);
  }
  if (size >= 4) return !differ(uint32_t{}, 0) && !differ(uint32_t{}, size - 4);
  if (size >= 2) return !differ(uint16_t{}, 0) && !differ(uint16_t{}, size - 2);
  return size == 0 || *a == *b;
}

}  // namespace echelon
