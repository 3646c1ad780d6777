// How vocabularies spell bytes: GPT-2's alphabet of printable characters, and SentencePiece's "<0x0A>".
// In GPT-2's alphabet the visible Latin-1 characters stand for themselves and the other 68 bytes follow from U+0100 on.
#include <array>

#include "engine/text/tokenizer_parts.h"
#include "engine/text/utf8.h"

namespace echelon {

namespace {

constexpr bool is_visible(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

constexpr std::array<char32_t, 256> make_alphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    alphabet[static_cast<size_t>(byte)] = is_visible(byte) ? static_cast<char32_t>(byte) : next++;
  }
  return alphabet;
}

constexpr std::array<char32_t, 256> kAlphabet = make_alphabet();

std::array<int, 0x180> make_bytes_of() {
  std::array<int, 0x180> bytes{};
  bytes.fill(-1);
  for (size_t byte = 0; byte < 256; ++byte) bytes[kAlphabet[byte]] = static_cast<int>(byte);
  return bytes;
}

constexpr int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string byte_to_spelling(uint8_t byte) {
  std::string out;
  append_utf8(out, kAlphabet[byte]);
  return out;
}

std::optional<std::string> bytes_of_spelling(std::string_view spelling) {
  static const std::array<int, 0x180> kBytesOf = make_bytes_of();
  std::string bytes;
  for (size_t at = 0; at < spelling.size();) {
    const CodePoint point = read_code_point(spelling, at);
    if (!point.valid || point.value >= kBytesOf.size() || kBytesOf[point.value] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kBytesOf[point.value]));
    at += point.num_bytes;
  }
  return bytes;
}

std::optional<uint8_t> byte_of_fallback_token(std::string_view spelling) {
  if (spelling.size() != 6 || !spelling.starts_with("<0x") || spelling.back() != '>') return std::nullopt;
  const int high = hex_value(spelling[3]);
  const int low = hex_value(spelling[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<uint8_t>(high * 16 + low);
}

std::string fallback_token_of_byte(uint8_t byte) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">";
}

}  // namespace echelon
