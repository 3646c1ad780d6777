// Cutting a text at special tokens. Candidates are grouped by first byte and length, so that a place costs a few
// look-ups. Which of two overlapping tokens wins follows Hugging Face tokenizers (leftmost, then longest).
#include "engine/text/special_tokens.h"

#include <algorithm>

#include "engine/text/unicode.h"
#include "engine/text/utf8.h"

namespace echelon {

namespace {

bool is_word(char32_t point) { return point == '_' || unicode::is_letter(point) || unicode::is_number(point); }

/// The offset of the code point that ends at `end`; end > 0.
size_t previous_offset(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && end - at < 4 && (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && is_word(read_code_point(text, previous_offset(text, begin)).value)) return false;
  return end == text.size() || !is_word(read_code_point(text, end).value);
}

size_t skip_space_left(std::string_view text, size_t low, size_t end) {
  while (end > low) {
    const size_t previous = previous_offset(text, end);
    if (previous < low || !unicode::is_space(read_code_point(text, previous).value)) break;
    end = previous;
  }
  return end;
}

size_t skip_space_right(std::string_view text, size_t at) {
  while (at < text.size()) {
    const CodePoint point = read_code_point(text, at);
    if (!unicode::is_space(point.value)) break;
    at += point.num_bytes;
  }
  return at;
}

}  // namespace

void SpecialTokenMatcher::add(SpecialToken token) {
  if (token.text.empty() || tokens_.count(token.text) != 0) return;
  auto& lengths = lengths_[static_cast<uint8_t>(token.text[0])];
  const auto length = static_cast<uint32_t>(token.text.size());
  const auto place = std::lower_bound(lengths.begin(), lengths.end(), length, std::greater<>());
  if (place == lengths.end() || *place != length) lengths.insert(place, length);
  std::string key = token.text;
  tokens_.emplace(std::move(key), std::move(token));
}

const SpecialToken* SpecialTokenMatcher::match(std::string_view text, size_t at) const {
  for (const uint32_t length : lengths_[static_cast<uint8_t>(text[at])]) {
    if (length > text.size() - at) continue;
    const auto found = tokens_.find(text.substr(at, length));
    if (found == tokens_.end()) continue;
    if (!found->second.whole_word || stands_alone(text, at, at + length)) return &found->second;
  }
  return nullptr;
}

void SpecialTokenMatcher::cut(std::string_view text, std::vector<TextFragment>& out) const {
  size_t begin = 0;  // of the text not yet given out
  size_t at = 0;
  while (at < text.size()) {
    const SpecialToken* token = match(text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    const size_t text_end = token->strip_left ? skip_space_left(text, begin, at) : at;
    if (text_end > begin) out.push_back({text.substr(begin, text_end - begin), std::nullopt});
    out.push_back({text.substr(at, token->text.size()), token->id});
    at += token->text.size();
    if (token->strip_right) at = skip_space_right(text, at);
    begin = at;
  }
  if (begin < text.size()) out.push_back({text.substr(begin), std::nullopt});
}

}  // namespace echelon
