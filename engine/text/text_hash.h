// Hash and comparison of short texts, eight bytes at a time, without a call. For tables of what a model's files say and
// for caches: nothing that a client sends becomes a key of a table that grows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace echelon {

/// The high bits are the good ones: they depend on all of the text.
inline uint64_t text_hash(std::string_view text) {
  constexpr uint64_t kFactor = 0x9e3779b97f4a7c15u;
  const auto load = [&]<typename Integer>(Integer value, size_t at) {
    std::memcpy(&value, text.data() + at, sizeof value);
    return uint64_t{value};
  };
  const size_t size = text.size();
  uint64_t hash = size;
  if (size >= 8) {
    for (size_t at = 0; at + 8 < size; at += 8) {
      hash = (hash ^ load(uint64_t{}, at)) * kFactor;
      hash ^= hash >> 32;
    }
    hash ^= load(uint64_t{}, size - 8);
  } else if (size >= 4) {
    hash ^= load(uint32_t{}, 0) << 32 | load(uint32_t{}, size - 4);
  } else if (size > 0) {
    hash ^= load(uint8_t{}, 0) << 32 | load(uint8_t{}, size / 2) << 16 | load(uint8_t{}, size - 1) << 8;
  }
  hash *= kFactor;
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
  if (size > 16) return std::memcmp(a, b, size) == 0;
  if (size >= 8) return !differ(uint64_t{}, 0) && !differ(uint64_t{}, size - 8);
  if (size >= 4) return !differ(uint32_t{}, 0) && !differ(uint32_t{}, size - 4);
  if (size >= 2) return !differ(uint16_t{}, 0) && !differ(uint16_t{}, size - 2);
  return size == 0 || *a == *b;
}

}  // namespace echelon
