// Running a tokenizer: cut special tokens out, normalise, split, merge; and back from tokens to bytes and text.
// The parts are made in vocabulary.cc (GGUF) and tokenizer_json.cc (Hugging Face).
#include "engine/text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "engine/text/tokenizer_parts.h"
#include "engine/text/unicode.h"
#include "engine/text/utf8.h"
#include "engine/text/word_cache.h"
#include "kernels/base/check.h"
#include "kernels/base/error.h"

namespace echelon {

namespace {

/// Control tokens that end an answer in the chat formats of today, whatever the file calls EOS.
constexpr std::string_view kEndOfTurnSpellings[] = {
    "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>",
    "<end_of_turn>", "<|end|>",    "<|return|>", "<turn|>",
};

constexpr size_t kTypicalWordBytes = 4;
constexpr size_t kWordsAhead = 8;  ///< so early the cache's line of a word is asked for

/// The words of a text: the pieces of one splitter are cut by the next.
void split_all(const TokenizerParts& parts, std::string_view text, std::vector<std::string_view>& words) {
  words.clear();
  words.reserve(text.size() / kTypicalWordBytes + 1);
  if (parts.splitters.empty()) {
    words.push_back(text);
    return;
  }
  parts.splitters[0]->split(text, words);
  for (size_t i = 1; i < parts.splitters.size(); ++i) {
    std::vector<std::string_view> finer;
    finer.reserve(text.size() / kTypicalWordBytes + 1);
    for (const std::string_view word : words) parts.splitters[i]->split(word, finer);
    words = std::move(finer);
  }
}

uint64_t next_serial() {
  static std::atomic<uint64_t> serial{0};
  return ++serial;
}

}  // namespace

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  size_t at = 0;
  for (size_t found = text.find(from); found != std::string_view::npos; found = text.find(from, at)) {
    out.append(text, at, found - at).append(to);
    at = found + from.size();
  }
  return out.append(text, at);
}

std::string Normalizer::apply(std::string_view fragment, bool first) const {
  std::string text = nfc ? unicode::normalize_nfc(fragment) : std::string(fragment);
  const bool there = text.starts_with(' ') || (!replacements.empty() && text.starts_with(kMetaspace));
  const bool wanted = leading_space == LeadingSpace::every_fragment ||
                      (leading_space == LeadingSpace::at_text_start && first && !there) ||
                      (leading_space == LeadingSpace::where_not_there && !there);
  if (wanted && !text.empty()) text.insert(text.begin(), ' ');
  for (const auto& [from, to] : replacements) text = replace_all(text, from, to);
  return text;
}

void index_spellings(TokenizerParts& parts) {
  parts.ids.reserve(parts.spellings.size());
  for (size_t id = 0; id < parts.spellings.size(); ++id) {
    parts.ids.emplace(parts.spellings[id], static_cast<TokenId>(id));
  }
}

void add_word_splitter(TokenizerParts& parts, const PieceTable& pieces, bool before_spaces) {
  if (pieces.find(kMetaspace) < 0) return;
  auto joined = std::make_unique<JoinedPairs>();
  pieces.for_each([&](std::string_view text, TokenId) {
    char32_t previous = 0;
    for (size_t at = 0; at < text.size();) {
      const CodePoint point = read_code_point(text, at);
      if (at > 0) joined->add(previous, point.value);
      previous = point.value;
      at += point.num_bytes;
    }
  });
  parts.splitters.push_back(make_word_splitter(std::move(joined), before_spaces));
}

std::vector<TokenId> collect_end_of_generation(const TokenizerParts& parts, std::vector<TokenId> ids) {
  for (const std::string_view spelling : kEndOfTurnSpellings) {
    const auto id = parts.id_of(spelling);
    if (id && parts.special[static_cast<size_t>(*id)]) ids.push_back(*id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Tokenizer::Tokenizer(std::unique_ptr<const TokenizerParts> parts) : parts_(std::move(parts)), serial_(next_serial()) {
  ECHELON_CHECK(parts_ && parts_->merger && parts_->token_bytes.size() == parts_->spellings.size() &&
                parts_->special.size() == parts_->spellings.size());
}

Tokenizer::~Tokenizer() = default;

void Tokenizer::encode_words(std::string_view text, Words& words, std::vector<TokenId>& out) const {
  thread_local WordCache cache;
  cache.use_for(serial_);
  split_all(*parts_, text, words);
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (i + kWordsAhead < words.size()) cache.prefetch(words[i + kWordsAhead]);
    if (cache.append_tokens(word, out)) continue;
    const size_t end = out.size();
    parts_->merger->append_tokens(word, out);
    cache.put(word, std::span(out).subspan(end));
  }
}

void Tokenizer::encode_fragment(std::string_view fragment, bool first, Words& words, std::vector<TokenId>& out) const {
  const Normalizer& normalizer = parts_->normalizer;
  const std::string normalized = normalizer.is_identity() ? std::string() : normalizer.apply(fragment, first);
  std::vector<TextFragment> fragments;
  parts_->normalized_matched.cut(normalizer.is_identity() ? fragment : normalized, fragments);
  for (const TextFragment& part : fragments) {
    if (part.id) {
      out.push_back(*part.id);
    } else {
      encode_words(part.text, words, out);
    }
  }
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() > kMaxEncodeBytes) {
    throw Error(Part::text,
                fmt::format("a text of {} bytes is too long; at most {} are encoded", text.size(), kMaxEncodeBytes));
  }
  std::vector<TokenId> ids;
  ids.reserve(text.size() / kTypicalWordBytes + 2);
  if (options.add_special && parts_->add_bos && parts_->bos_id) ids.push_back(*parts_->bos_id);
  std::vector<TextFragment> fragments;
  (options.parse_special ? parts_->all_matched : parts_->always_matched).cut(text, fragments);
  bool first = true;
  Words words;  // of one fragment after another
  for (const TextFragment& fragment : fragments) {
    if (fragment.id) {
      ids.push_back(*fragment.id);
    } else {
      encode_fragment(fragment.text, first, words, ids);
    }
    first = false;
  }
  if (options.add_special && parts_->add_eos && parts_->eos_id) ids.push_back(*parts_->eos_id);
  return ids;
}

std::string_view Tokenizer::token_bytes(TokenId id) const {
  if (id < 0 || static_cast<size_t>(id) >= parts_->token_bytes.size()) return {};
  return parts_->token_bytes[static_cast<size_t>(id)];
}

std::string Tokenizer::decode(std::span<const TokenId> ids, DecodeOptions options) const {
  Utf8Decoder decoder;
  std::string text;
  bool at_start = options.at_text_start && parts_->strip_leading_space;
  for (const TokenId id : ids) {
    if (options.skip_special && is_special(id)) continue;
    std::string_view bytes = token_bytes(id);
    if (at_start && !bytes.empty() && !is_special(id)) {
      if (bytes.front() == ' ') bytes.remove_prefix(1);
      at_start = false;
    }
    text += decoder.feed(bytes);
  }
  return text += decoder.flush();
}

int64_t Tokenizer::vocabulary_size() const { return static_cast<int64_t>(parts_->spellings.size()); }

bool Tokenizer::is_special(TokenId id) const {
  return id >= 0 && static_cast<size_t>(id) < parts_->special.size() && parts_->special[static_cast<size_t>(id)];
}

std::span<const TokenId> Tokenizer::end_of_generation_ids() const { return parts_->end_of_generation_ids; }

bool Tokenizer::is_end_of_generation(TokenId id) const {
  return std::binary_search(parts_->end_of_generation_ids.begin(), parts_->end_of_generation_ids.end(), id);
}

std::optional<TokenId> Tokenizer::id_of(std::string_view spelling) const { return parts_->id_of(spelling); }

std::string_view Tokenizer::spelling(TokenId id) const {
  if (id < 0 || static_cast<size_t>(id) >= parts_->spellings.size()) return {};
  return parts_->spellings[static_cast<size_t>(id)];
}

std::optional<TokenId> Tokenizer::bos_id() const { return parts_->bos_id; }
std::optional<TokenId> Tokenizer::eos_id() const { return parts_->eos_id; }
std::optional<TokenId> Tokenizer::unknown_id() const { return parts_->unknown_id; }
std::optional<TokenId> Tokenizer::padding_id() const { return parts_->padding_id; }
bool Tokenizer::adds_bos() const { return parts_->add_bos && parts_->bos_id; }
bool Tokenizer::adds_eos() const { return parts_->add_eos && parts_->eos_id; }
bool Tokenizer::adds_leading_space() const { return parts_->strip_leading_space; }

}  // namespace echelon
