// Cutting a text at special tokens, by a trie of them. Which of two overlapping tokens wins follows Hugging Face
// tokenizers (leftmost, then longest).
#include "engine/text/special_tokens.h"

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
  if (token.text.empty()) return;
  uint32_t node = 0;
  for (const char byte : token.text) {
    const auto [step, is_new] = steps_.try_emplace(step_of(node, byte), static_cast<uint32_t>(token_ends_.size()));
    if (is_new) token_ends_.push_back(-1);
    node = step->second;
  }
  if (token_ends_[node] >= 0) return;
  token_ends_[node] = static_cast<int32_t>(tokens_.size());
  if (token.text.size() == 1) single_[static_cast<uint8_t>(token.text[0])] = token_ends_[node];
  if (token.text.size() >= 4) continues_.set(pair_of(token.text[2], token.text[3]));
  if (token.text.size() > 1) goes_on_.set(pair_of(token.text[0], token.text[1]));
  for (int second = 0; second < 256; ++second) {
    if (token.text.size() > 1 && static_cast<char>(second) != token.text[1]) continue;
    const size_t pair = pair_of(token.text[0], static_cast<char>(second));
    begins_.set(pair);
    if (token.text.size() < 4) short_begins_.set(pair);
  }
  tokens_.push_back(std::move(token));
}

const SpecialToken* SpecialTokenMatcher::match(std::string_view text, size_t at) const {
  const bool is_single = at + 1 == text.size() || !goes_on_[pair_of(text[at], text[at + 1])];
  if (is_single) {
    const int32_t number = single_[static_cast<uint8_t>(text[at])];
    if (number < 0) return nullptr;
    const SpecialToken& token = tokens_[static_cast<size_t>(number)];
    return !token.whole_word || stands_alone(text, at, at + 1) ? &token : nullptr;
  }
  const SpecialToken* longest = nullptr;
  uint32_t node = 0;
  for (size_t end = at; end < text.size();) {
    const auto step = steps_.find(step_of(node, text[end++]));
    if (step == steps_.end()) break;
    node = step->second;
    if (token_ends_[node] < 0) continue;
    const SpecialToken& token = tokens_[static_cast<size_t>(token_ends_[node])];
    if (!token.whole_word || stands_alone(text, at, end)) longest = &token;
  }
  return longest;
}

void SpecialTokenMatcher::cut(std::string_view text, std::vector<TextFragment>& out) const {
  size_t begin = 0;  // of the text not yet given out
  size_t at = empty() ? text.size() : 0;
  while (at < text.size()) {
    const SpecialToken* token = may_match(text, at) ? match(text, at) : nullptr;
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
