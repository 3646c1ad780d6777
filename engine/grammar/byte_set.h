// A set of byte values.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace echelon {

class ByteSet {
 public:
  constexpr ByteSet() = default;
  static constexpr ByteSet single(uint8_t byte) { return range(byte, byte); }
  /// Both ends belong to it.
  static constexpr ByteSet range(int first, int last) {
    ByteSet set;
    for (int byte = first; byte <= last; ++byte) set.insert(static_cast<uint8_t>(byte));
    return set;
  }

  constexpr void insert(uint8_t byte) { words_[byte / 64] |= uint64_t{1} << (byte % 64); }
  constexpr void erase(uint8_t byte) { words_[byte / 64] &= ~(uint64_t{1} << (byte % 64)); }
  constexpr bool contains(uint8_t byte) const { return (words_[byte / 64] >> (byte % 64) & 1) != 0; }
  constexpr bool empty() const { return (words_[0] | words_[1] | words_[2] | words_[3]) == 0; }
  constexpr int size() const {
    int count = 0;
    for (const uint64_t word : words_) count += std::popcount(word);
    return count;
  }
  constexpr ByteSet& operator|=(const ByteSet& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
    return *this;
  }
  constexpr bool operator==(const ByteSet&) const = default;
  constexpr auto operator<=>(const ByteSet&) const = default;

 private:
  std::array<uint64_t, 4> words_{};
};

}  // namespace echelon
