// What a tokenizer is made of: special tokens are cut out, the rest is normalised, split into pieces, and each piece is
// merged into tokens. Internal to this folder; vocabulary.cc and tokenizer_json.cc fill it, tokenizer.cc runs it.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/text/merger.h"
#include "engine/text/special_tokens.h"
#include "engine/text/splitter.h"
#include "engine/text/tokenizer.h"

namespace echelon {

/// U+2581, which SentencePiece writes for a space.
inline constexpr std::string_view kMetaspace = "\xe2\x96\x81";

/// Where a space (or its metaspace) is put before a text.
enum class LeadingSpace {
  never,
  at_text_start,    ///< before the first fragment, when it is not a special token and has none
  every_fragment,   ///< before each fragment between special tokens
  where_not_there,  ///< before each fragment that does not begin with a space (ByteLevel's add_prefix_space)
};

/// Steps in this order, on each fragment between special tokens.
struct Normalizer {
  bool nfc = false;
  LeadingSpace leading_space = LeadingSpace::never;
  std::vector<std::pair<std::string, std::string>> replacements;  ///< from (not empty), to

  /// The normalised fragment.
  std::string apply(std::string_view fragment, bool first) const;
  bool is_identity() const { return !nfc && leading_space == LeadingSpace::never && replacements.empty(); }
};

struct TokenizerParts {
  std::vector<std::string> spellings;                 ///< token id -> the vocabulary's spelling
  std::vector<std::string> token_bytes;               ///< token id -> bytes it stands for
  std::vector<bool> special;                          ///< token id -> control or unknown
  std::unordered_map<std::string_view, TokenId> ids;  ///< spelling -> id; views into `spellings`

  SpecialTokenMatcher always_matched;      ///< user-defined tokens
  SpecialTokenMatcher all_matched;         ///< those and control tokens
  SpecialTokenMatcher normalized_matched;  ///< added tokens that are looked for after normalisation
  Normalizer normalizer;
  std::vector<std::unique_ptr<const Splitter>> splitters;  ///< each cuts the pieces of the one before; may be empty
  std::unique_ptr<const Merger> merger;

  std::optional<TokenId> bos_id, eos_id, unknown_id, padding_id;
  std::vector<TokenId> end_of_generation_ids;
  bool add_bos = false;
  bool add_eos = false;
  bool strip_leading_space = false;  ///< decode removes one space at the start of a text

  std::optional<TokenId> id_of(std::string_view spelling) const {
    const auto found = ids.find(spelling);
    return found == ids.end() ? std::nullopt : std::optional(found->second);
  }
};

/// Fills `ids` from `spellings`. The first of two equal spellings wins.
void index_spellings(TokenizerParts& parts);

/// For vocabularies that spell a space as U+2581: cuts between characters that no token of `pieces` joins; with
/// `before_spaces`, only before U+2581.
void add_word_splitter(TokenizerParts& parts, const PieceTable& pieces, bool before_spaces);

/// The given ids and the special tokens whose spelling is known to end a turn.
std::vector<TokenId> collect_end_of_generation(const TokenizerParts& parts, std::vector<TokenId> ids);

/// GPT-2's alphabet: a printable character for each byte.
std::string byte_to_spelling(uint8_t byte);
/// The bytes of a spelling in that alphabet; nullopt when a character is not in it.
std::optional<std::string> bytes_of_spelling(std::string_view spelling);
/// 0x0A for "<0x0A>".
std::optional<uint8_t> byte_of_fallback_token(std::string_view spelling);
/// "<0x0A>" for 0x0A.
std::string fallback_token_of_byte(uint8_t byte);
/// `text` with every `from` replaced by `to`, left to right.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace echelon
