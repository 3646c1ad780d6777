// UTF-8: reading code points from bytes that may be broken, writing them, and decoding a stream that arrives in pieces.
// Broken bytes are treated as Python's errors="replace" does: one U+FFFD per maximal part of a sequence that cannot
// be completed (The Unicode Standard, chapter 3.9, table 3-8).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace echelon {

inline constexpr char32_t kReplacementCharacter = 0xfffd;

/// One step of reading UTF-8.
struct CodePoint {
  char32_t value = kReplacementCharacter;
  uint32_t num_bytes = 0;   ///< bytes read: 1 to 4; for a broken sequence, the maximal part of it
  bool valid = false;       ///< false: value is U+FFFD
  bool incomplete = false;  ///< the text ended inside a sequence that was right so far
};

/// As read_code_point, for what does not begin with an ASCII byte, too.
CodePoint read_long_code_point(std::string_view text, size_t offset);

/// The code point at `text[offset]`; offset < text.size().
inline CodePoint read_code_point(std::string_view text, size_t offset) {
  const auto byte = static_cast<uint8_t>(text[offset]);
  if (byte < 0x80) return {.value = byte, .num_bytes = 1, .valid = true};
  return read_long_code_point(text, offset);
}

/// How many bytes read_code_point reads. (g++ 12 takes the members of a CodePoint through vector registers; a loop over
/// every character asks for one of them.)
inline size_t code_point_bytes(std::string_view text, size_t offset) {
  return static_cast<uint8_t>(text[offset]) < 0x80 ? 1 : read_long_code_point(text, offset).num_bytes;
}

/// Appends one code point; surrogates and values above U+10FFFF are written as U+FFFD.
void append_utf8(std::string& out, char32_t value);

/// Code points of a text; broken parts count as one each.
size_t count_code_points(std::string_view text);

/// Byte offset of every code point, and text.size() at the end.
std::vector<size_t> code_point_offsets(std::string_view text);

bool is_valid_utf8(std::string_view text);

/// The text with broken parts replaced by U+FFFD.
std::string replace_invalid_utf8(std::string_view bytes);

/// Decodes bytes that arrive in pieces: the output is valid UTF-8 at every moment, and the pieces' borders never show.
/// One object per stream; not shared between threads.
class Utf8Decoder {
 public:
  /// The text that is complete now. Up to three bytes of an unfinished sequence are held back.
  std::string feed(std::string_view bytes);
  /// The end of the stream: an unfinished sequence becomes one U+FFFD. The decoder is then empty again.
  std::string flush();
  /// Bytes held back, 0 to 3.
  size_t num_pending() const { return pending_.size(); }

 private:
  std::string pending_;
};

}  // namespace echelon
