// Flat little-endian bytes for messages between ranks: a writer, and a reader that trusts nothing.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/base/error.h"

namespace echelon {

/// A message that cannot be what its sender meant: names the field.
class WireError : public Error {
 public:
  explicit WireError(const std::string& message) : Error(Part::engine, message) {}
};

class WireWriter {
 public:
  template <typename T>
  void put(T value) {
    static_assert(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>);
    append(&value, sizeof(T));
  }
  template <typename T>
  void put_all(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    put(static_cast<uint32_t>(values.size()));
    if (!values.empty()) append(values.data(), values.size_bytes());
  }
  /// 7 bits a byte, the lowest first, the top bit set on all bytes but the last: 1 byte below 128, 3 below 2^21.
  void put_number(uint32_t value) {
    std::byte bytes[5];
    size_t count = 0;
    for (; value >= 0x80; value >>= 7) bytes[count++] = static_cast<std::byte>(value | 0x80);
    bytes[count++] = static_cast<std::byte>(value);
    append(bytes, count);
  }
  void put_text(std::string_view text) { put_all(std::span(text.data(), text.size())); }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  // Inlined, g++ 12 takes the vector for as small as a first put() left it, and warns of every later one.
  [[gnu::noinline]] void append(const void* from, size_t num_bytes) {
    const size_t at = bytes_.size();
    bytes_.resize(at + num_bytes);
    std::memcpy(bytes_.data() + at, from, num_bytes);
  }
  std::vector<std::byte> bytes_;
};

class WireReader {
 public:
  explicit WireReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <typename T>
  T get(const char* field) {
    need(sizeof(T), field);
    T value;
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  /// What put<uint8_t>(bool) wrote; throws WireError for another byte.
  bool get_flag(const char* field) {
    const auto byte = get<uint8_t>(field);
    if (byte > 1) throw WireError(std::string("message field ") + field + " is neither 0 nor 1");
    return byte == 1;
  }
  /// A count that lies in [0, most]; throws WireError otherwise.
  uint32_t get_count(const char* field, uint64_t most) {
    const auto count = get<uint32_t>(field);
    if (count > most) throw WireError(std::string("message field ") + field + " is too large");
    return count;
  }
  /// What put_number() wrote; throws WireError for more than `most`, and for bytes that put_number() does not write.
  uint32_t get_number(const char* field, uint32_t most) {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = get<uint8_t>(field);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (shift == 28 && byte > 0x0f) throw WireError(std::string("message field ") + field + " is too large");
      if ((byte & 0x80) != 0) continue;
      if (byte == 0 && shift > 0) throw WireError(std::string("message field ") + field + " is padded");
      if (value > most) throw WireError(std::string("message field ") + field + " is too large");
      return static_cast<uint32_t>(value);
    }
  }
  size_t num_left() const { return rest_.size(); }
  template <typename T>
  std::vector<T> get_all(const char* field) {
    const auto count = get<uint32_t>(field);
    need(uint64_t{count} * sizeof(T), field);
    std::vector<T> values(count);
    if (count > 0) std::memcpy(values.data(), rest_.data(), count * sizeof(T));
    rest_ = rest_.subspan(count * sizeof(T));
    return values;
  }
  std::string get_text(const char* field) {
    const auto chars = get_all<char>(field);
    return {chars.begin(), chars.end()};
  }
  /// Throws WireError when bytes are left.
  void finish() const {
    if (!rest_.empty()) throw WireError("message has bytes behind its end");
  }

 private:
  void need(uint64_t bytes, const char* field) const {
    if (bytes > rest_.size()) throw WireError(std::string("message ends inside field ") + field);
  }
  std::span<const std::byte> rest_;
};

/// Of plans, results and masks: ranks of another version are not understood.
inline constexpr uint16_t kWireVersion = 7;

inline void put_header(WireWriter& out, uint32_t magic) {
  out.put(magic);
  out.put(kWireVersion);
}
inline void expect_header(WireReader& in, uint32_t magic) {
  if (in.get<uint32_t>("magic") != magic) throw WireError("message has a wrong magic number");
  if (in.get<uint16_t>("version") != kWireVersion) throw WireError("message is of another version of echelon");
}

}  // namespace echelon
