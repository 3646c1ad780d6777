// UTF-8 reading, writing and incremental decoding.
// The second byte's range per lead byte follows The Unicode Standard's table 3-7 of well-formed sequences.
#include "engine/text/utf8.h"

#include <array>
#include <cstdint>

namespace echelon {

namespace {

struct Lead {
  uint32_t num_bytes;  ///< 0: not a lead byte
  uint8_t second_min, second_max;
};

constexpr Lead make_lead(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xc2) return {0, 0, 0};
  if (byte < 0xe0) return {2, 0x80, 0xbf};
  if (byte == 0xe0) return {3, 0xa0, 0xbf};
  if (byte == 0xed) return {3, 0x80, 0x9f};
  if (byte < 0xf0) return {3, 0x80, 0xbf};
  if (byte == 0xf0) return {4, 0x90, 0xbf};
  if (byte < 0xf4) return {4, 0x80, 0xbf};
  if (byte == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

constexpr std::array<Lead, 256> make_leads() {
  std::array<Lead, 256> leads{};
  for (size_t byte = 0; byte < 256; ++byte) leads[byte] = make_lead(static_cast<uint8_t>(byte));
  return leads;
}

constexpr std::array<Lead, 256> kLeads = make_leads();

/// Appends `bytes` with broken parts replaced; stops before an unfinished sequence at the end and returns its offset.
size_t append_decoded(std::string& out, std::string_view bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    const CodePoint point = read_code_point(bytes, at);
    if (point.incomplete) return at;
    if (point.valid) {
      out.append(bytes, at, point.num_bytes);
    } else {
      append_utf8(out, kReplacementCharacter);
    }
    at += point.num_bytes;
  }
  return at;
}

}  // namespace

CodePoint read_long_code_point(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[offset + i]); };
  const Lead lead = kLeads[byte(0)];
  if (lead.num_bytes == 0) return {.num_bytes = 1};
  if (lead.num_bytes == 1) return {.value = byte(0), .num_bytes = 1, .valid = true};
  const size_t available = text.size() - offset;
  const auto follows = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  if (lead.num_bytes == 2 && available >= 2 && follows(1))  // nearly all that is not ASCII is this or the next
    return {.value = (byte(0) & 0x1fu) << 6 | (byte(1) & 0x3fu), .num_bytes = 2, .valid = true};
  if (lead.num_bytes == 3 && available >= 3 && byte(1) >= lead.second_min && byte(1) <= lead.second_max && follows(2)) {
    const char32_t value = (byte(0) & 0x0fu) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3fu);
    return {.value = value, .num_bytes = 3, .valid = true};
  }
  char32_t value = byte(0) & (0x7fu >> lead.num_bytes);
  for (uint32_t i = 1; i < lead.num_bytes; ++i) {
    if (i == available) return {.num_bytes = i, .incomplete = true};
    const uint8_t low = i == 1 ? lead.second_min : 0x80;
    const uint8_t high = i == 1 ? lead.second_max : 0xbf;
    if (byte(i) < low || byte(i) > high) return {.num_bytes = i};
    value = (value << 6) | (byte(i) & 0x3fu);
  }
  return {.value = value, .num_bytes = lead.num_bytes, .valid = true};
}

void append_utf8(std::string& out, char32_t value) {
  if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) value = kReplacementCharacter;
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (value < 0x80) return put(value);
  if (value < 0x800) {
    put(0xc0 | (value >> 6));
  } else {
    if (value < 0x10000) {
      put(0xe0 | (value >> 12));
    } else {
      put(0xf0 | (value >> 18));
      put(0x80 | ((value >> 12) & 0x3f));
    }
    put(0x80 | ((value >> 6) & 0x3f));
  }
  put(0x80 | (value & 0x3f));
}

size_t count_code_points(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += read_code_point(text, at).num_bytes) ++count;
  return count;
}

std::vector<size_t> code_point_offsets(std::string_view text) {
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.size(); at += read_code_point(text, at).num_bytes) offsets.push_back(at);
  offsets.push_back(text.size());
  return offsets;
}

bool is_valid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    if (!point.valid) return false;
    at += point.num_bytes;
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  Utf8Decoder decoder;
  std::string out = decoder.feed(bytes);
  return out += decoder.flush();
}

std::string Utf8Decoder::feed(std::string_view bytes) {
  std::string joined;
  if (!pending_.empty()) {
    joined = pending_;
    joined += bytes;
    bytes = joined;
  }
  std::string out;
  const size_t end = append_decoded(out, bytes);
  pending_.assign(bytes.substr(end));
  return out;
}

std::string Utf8Decoder::flush() {
  std::string out;
  if (!pending_.empty()) append_utf8(out, kReplacementCharacter);
  pending_.clear();
  return out;
}

}  // namespace echelon
