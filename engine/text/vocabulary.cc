// From a GGUF file's tokenizer.ggml.* to a tokenizer. Everything is checked here, and messages name the GGUF field.
// Pre-tokenizer names are the ones that llama.cpp's converter writes.
#include <fmt/format.h>

#include <cmath>

#include "engine/text/tokenizer_parts.h"
#include "kernels/base/error.h"
#include "kernels/base/limits.h"

namespace echelon {

namespace {

enum class SplitPattern { gpt2, digits_then_gpt2, llama3, qwen2 };

struct PreTokenizer {
  std::string_view name;
  SplitPattern pattern;
  bool whole_piece_first = false;
  bool nfc = false;
};

constexpr PreTokenizer kPreTokenizers[] = {
    {"gpt-2", SplitPattern::gpt2},
    {"gpt2", SplitPattern::gpt2},
    {"phi-2", SplitPattern::gpt2},
    {"smollm", SplitPattern::digits_then_gpt2},
    {"starcoder", SplitPattern::digits_then_gpt2},
    {"refact", SplitPattern::digits_then_gpt2},
    {"command-r", SplitPattern::digits_then_gpt2},
    {"codeshell", SplitPattern::digits_then_gpt2},
    {"llama-bpe", SplitPattern::llama3, true},
    {"llama3", SplitPattern::llama3, true},
    {"llama-v3", SplitPattern::llama3, true},
    {"falcon3", SplitPattern::llama3, true},
    {"qwen2", SplitPattern::qwen2, false, true},
    {"deepseek-r1-qwen", SplitPattern::qwen2, false, true},
};

const PreTokenizer& find_pre_tokenizer(const std::string& name) {
  std::string known;
  for (const PreTokenizer& entry : kPreTokenizers) {
    if (entry.name == name) return entry;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw Error(Part::text,
              fmt::format("tokenizer.ggml.pre is '{}', which is not supported; supported are {}", name, known));
}

void add_splitters(TokenizerParts& parts, SplitPattern pattern) {
  switch (pattern) {
    case SplitPattern::digits_then_gpt2:
      parts.splitters.push_back(make_digit_splitter(true));
      [[fallthrough]];
    case SplitPattern::gpt2:
      parts.splitters.push_back(make_gpt2_splitter());
      return;
    case SplitPattern::llama3:
      parts.splitters.push_back(make_llama3_splitter(3));
      return;
    case SplitPattern::qwen2:
      parts.splitters.push_back(make_llama3_splitter(1));
      return;
  }
}

std::optional<TokenId> checked_id(std::optional<int64_t> id, size_t num_tokens, std::string_view field) {
  if (!id) return std::nullopt;
  if (*id < 0 || static_cast<uint64_t>(*id) >= num_tokens) {
    throw Error(Part::text,
                fmt::format("tokenizer.ggml.{} is {}, but the vocabulary has {} tokens", field, *id, num_tokens));
  }
  return static_cast<TokenId>(*id);
}

void check_sizes(const Vocabulary& vocabulary) {
  const size_t num_tokens = vocabulary.tokens.size();
  if (num_tokens == 0) throw Error(Part::text, "tokenizer.ggml.tokens is missing or empty");
  if (num_tokens > static_cast<uint64_t>(kMaxVocab)) {
    throw Error(Part::text,
                fmt::format("tokenizer.ggml.tokens has {} tokens; at most {} are supported", num_tokens, kMaxVocab));
  }
  if (!vocabulary.token_types.empty() && vocabulary.token_types.size() != num_tokens) {
    throw Error(Part::text, fmt::format("tokenizer.ggml.token_type has {} entries for {} tokens",
                                        vocabulary.token_types.size(), num_tokens));
  }
  for (const int64_t type : vocabulary.token_types) {
    if (type < static_cast<int64_t>(TokenType::normal) || type > static_cast<int64_t>(TokenType::byte)) {
      throw Error(Part::text, fmt::format("tokenizer.ggml.token_type holds {}; 1 to 6 are known", type));
    }
  }
  if (vocabulary.kind == VocabularyKind::byte_level_bpe) {
    if (vocabulary.merges.empty()) throw Error(Part::text, "tokenizer.ggml.merges is missing or empty");
    return;
  }
  if (vocabulary.scores.size() != num_tokens) {
    throw Error(Part::text, fmt::format("tokenizer.ggml.scores has {} entries for {} tokens", vocabulary.scores.size(),
                                        num_tokens));
  }
  for (size_t id = 0; id < num_tokens; ++id) {
    if (!std::isfinite(vocabulary.scores[id])) {
      throw Error(Part::text, fmt::format("tokenizer.ggml.scores[{}] is not a finite number", id));
    }
  }
}

TokenType type_of(const Vocabulary& vocabulary, size_t id) {
  return vocabulary.token_types.empty() ? TokenType::normal : static_cast<TokenType>(vocabulary.token_types[id]);
}

bool is_text_token(TokenType type) { return type != TokenType::control && type != TokenType::unknown; }

void add_special_tokens(TokenizerParts& parts, const Vocabulary& vocabulary) {
  for (size_t id = 0; id < parts.spellings.size(); ++id) {
    const TokenType type = type_of(vocabulary, id);
    const std::string& text = parts.spellings[id];
    parts.special.push_back(!is_text_token(type));
    if (is_text_token(type) && type != TokenType::user_defined) continue;
    if (text.size() > kMaxSpecialTokenBytes) {
      throw Error(Part::text,
                  fmt::format("tokenizer.ggml.tokens[{}] is a special token of {} bytes; at most {} are supported", id,
                              text.size(), kMaxSpecialTokenBytes));
    }
    const SpecialToken token{.text = text, .id = static_cast<TokenId>(id)};
    if (type == TokenType::user_defined) parts.always_matched.add(token);
    parts.all_matched.add(token);
  }
}

MergeTable read_merges(const TokenizerParts& parts, const std::vector<std::string>& merges) {
  MergeTable table(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view merge = merges[rank];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      throw Error(Part::text,
                  fmt::format("tokenizer.ggml.merges[{}] is '{}'; it must be two tokens and a space", rank, merge));
    }
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = merge.substr(space + 1);
    const auto left_id = parts.id_of(left);
    const auto right_id = parts.id_of(right);
    const auto merged_id = parts.id_of(std::string(left) + std::string(right));
    if (!left_id || !right_id || !merged_id) {
      throw Error(Part::text,
                  fmt::format("tokenizer.ggml.merges[{}] names '{}', which is not in tokenizer.ggml.tokens", rank,
                              !left_id    ? left
                              : !right_id ? right
                                          : std::string(left) + std::string(right)));
    }
    table.add({*left_id, *right_id, *merged_id, static_cast<int32_t>(rank)});
  }
  return table;
}

void set_up_byte_level(TokenizerParts& parts, const Vocabulary& vocabulary) {
  const PreTokenizer& pre = find_pre_tokenizer(vocabulary.pre_tokenizer);
  add_splitters(parts, pre.pattern);
  parts.normalizer.nfc = pre.nfc;
  if (vocabulary.add_space_prefix) parts.normalizer.leading_space = LeadingSpace::where_not_there;
  RankMergerSetup setup{.byte_ids = {}, .whole_piece_first = pre.whole_piece_first};
  for (size_t byte = 0; byte < 256; ++byte) {
    setup.byte_ids[byte] = parts.id_of(byte_to_spelling(static_cast<uint8_t>(byte))).value_or(-1);
  }
  for (size_t id = 0; id < parts.spellings.size(); ++id) {
    const TokenType type = type_of(vocabulary, id);
    const bool literal = type == TokenType::control || type == TokenType::unknown || type == TokenType::user_defined;
    const auto bytes = literal ? std::nullopt : bytes_of_spelling(parts.spellings[id]);
    parts.token_bytes.push_back(bytes.value_or(parts.spellings[id]));
    if (bytes && setup.whole_piece_first) setup.pieces.add(*bytes, static_cast<TokenId>(id));
  }
  parts.merger = make_rank_merger(std::move(setup), read_merges(parts, vocabulary.merges));
}

void set_up_sentencepiece(TokenizerParts& parts, Vocabulary& vocabulary) {
  ScoreMergerSetup setup{.scores = std::move(vocabulary.scores), .byte_ids = {}, .unknown_id = parts.unknown_id};
  setup.byte_ids.fill(-1);
  for (size_t id = 0; id < parts.spellings.size(); ++id) {
    const TokenType type = type_of(vocabulary, id);
    const std::string& spelling = parts.spellings[id];
    const auto byte = type == TokenType::byte ? byte_of_fallback_token(spelling) : std::nullopt;
    if (type == TokenType::byte && !byte) {
      throw Error(Part::text,
                  fmt::format("tokenizer.ggml.tokens[{}] is a byte token, but '{}' is not like <0x0A>", id, spelling));
    }
    if (byte) {
      setup.byte_ids[*byte] = static_cast<TokenId>(id);
      parts.token_bytes.push_back(std::string(1, static_cast<char>(*byte)));
    } else {
      parts.token_bytes.push_back(is_text_token(type) ? replace_all(spelling, kMetaspace, " ") : spelling);
    }
    if (type == TokenType::normal || type == TokenType::user_defined) {
      setup.pieces.add(spelling, static_cast<TokenId>(id));
    }
  }
  if (vocabulary.add_space_prefix) {
    parts.normalizer.leading_space = LeadingSpace::every_fragment;
    parts.strip_leading_space = true;
  }
  parts.normalizer.replacements.emplace_back(" ", kMetaspace);
  add_word_splitter(parts, setup.pieces, false);
  parts.merger = make_score_merger(std::move(setup));
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(Vocabulary vocabulary) {
  check_sizes(vocabulary);
  auto parts = std::make_unique<TokenizerParts>();
  parts->spellings = std::move(vocabulary.tokens);
  index_spellings(*parts);
  const size_t num_tokens = parts->spellings.size();
  parts->bos_id = checked_id(vocabulary.bos_id, num_tokens, "bos_token_id");
  parts->eos_id = checked_id(vocabulary.eos_id, num_tokens, "eos_token_id");
  parts->unknown_id = checked_id(vocabulary.unknown_id, num_tokens, "unknown_token_id");
  parts->padding_id = checked_id(vocabulary.padding_id, num_tokens, "padding_token_id");
  std::vector<TokenId> ends;
  for (const auto& end : {parts->eos_id, checked_id(vocabulary.eot_id, num_tokens, "eot_token_id"),
                          checked_id(vocabulary.eom_id, num_tokens, "eom_token_id")}) {
    if (end) ends.push_back(*end);
  }
  parts->add_bos = vocabulary.add_bos;
  parts->add_eos = vocabulary.add_eos;
  if (parts->add_bos && !parts->bos_id)
    throw Error(Part::text, "tokenizer.ggml.add_bos_token is set, bos_token_id is missing");
  if (parts->add_eos && !parts->eos_id)
    throw Error(Part::text, "tokenizer.ggml.add_eos_token is set, eos_token_id is missing");
  add_special_tokens(*parts, vocabulary);
  parts->end_of_generation_ids = collect_end_of_generation(*parts, std::move(ends));
  if (vocabulary.kind == VocabularyKind::byte_level_bpe) {
    set_up_byte_level(*parts, vocabulary);
  } else {
    set_up_sentencepiece(*parts, vocabulary);
  }
  return std::make_unique<Tokenizer>(std::move(parts));
}

}  // namespace echelon
