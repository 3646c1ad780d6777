// From text to token ids and back: byte-level BPE and SentencePiece, as GGUF metadata or a tokenizer.json describe
// them. Exact against llama.cpp (GGUF) and Hugging Face tokenizers (tokenizer.json); tests/golden holds the oracles.
// O(n log n) for any text. A Tokenizer is immutable: every const method may be called from any thread. A thread that
// encodes keeps 2 MiB of words and their tokens (word_cache.h).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/token.h"

namespace echelon {

enum class VocabularyKind {
  byte_level_bpe,  ///< GGUF "gpt2": merges by rank over bytes
  sentencepiece,   ///< GGUF "llama": merges by score over characters, with byte tokens for the rest
};

/// GGUF's numbers for tokenizer.ggml.token_type.
enum class TokenType : int32_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

/// What a GGUF file says under tokenizer.ggml.*, unchecked: make_tokenizer checks it.
struct Vocabulary {
  VocabularyKind kind = VocabularyKind::byte_level_bpe;
  std::string pre_tokenizer;         ///< tokenizer.ggml.pre; byte-level BPE only
  std::vector<std::string> tokens;   ///< token id -> spelling
  std::vector<float> scores;         ///< sentencepiece: one per token
  std::vector<int64_t> token_types;  ///< TokenType, one per token; empty: all normal
  std::vector<std::string> merges;   ///< "left right", best first; byte-level BPE only
  std::optional<int64_t> bos_id, eos_id, eot_id, eom_id, unknown_id, padding_id;
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = false;
};

struct EncodeOptions {
  /// Recognise control tokens such as <|im_start|> in the text. Otherwise their text is ordinary text. User-defined
  /// tokens (runs of spaces, HTML tags in Gemma) are always recognised.
  bool parse_special = false;
  /// Put BOS before and EOS after the text where the model wants them.
  bool add_special = false;
};

struct DecodeOptions {
  bool skip_special = true;  ///< leave control and unknown tokens out; otherwise they appear as their text
  /// The tokens begin a text: SentencePiece's added leading space is removed, where the vocabulary adds one.
  bool at_text_start = true;
};

struct TokenizerParts;  // tokenizer_parts.h

class Tokenizer {
 public:
  explicit Tokenizer(std::unique_ptr<const TokenizerParts> parts);
  ~Tokenizer();

  /// Broken UTF-8 is kept: its bytes become byte tokens. Throws Error(Part::text) when the text is longer than
  /// kMaxEncodeBytes, or when a pattern that only PCRE2 knows runs into its match limit.
  std::vector<TokenId> encode(std::string_view text, EncodeOptions options = {}) const;

  /// The bytes a token stands for; may be a part of a character. Control tokens: their text. Empty for an id that is
  /// not in the vocabulary (embedding tables may have more rows). Lives as long as the tokenizer.
  std::string_view token_bytes(TokenId id) const;

  /// The text of the tokens; broken UTF-8 becomes U+FFFD (utf8.h). Streams: stream_decoder.h.
  std::string decode(std::span<const TokenId> ids, DecodeOptions options = {}) const;

  int64_t vocabulary_size() const;
  /// Control or unknown: left out of decoded text by default.
  bool is_special(TokenId id) const;
  /// EOS, EOT, EOM and the control tokens that are known to end a turn. Ascending, without repetition.
  std::span<const TokenId> end_of_generation_ids() const;
  bool is_end_of_generation(TokenId id) const;
  /// By the vocabulary's spelling ("Ġthe", "▁the", "<|im_end|>").
  std::optional<TokenId> id_of(std::string_view spelling) const;
  /// The vocabulary's spelling of a token; empty for an unknown id.
  std::string_view spelling(TokenId id) const;

  std::optional<TokenId> bos_id() const;
  std::optional<TokenId> eos_id() const;
  std::optional<TokenId> unknown_id() const;
  std::optional<TokenId> padding_id() const;
  bool adds_bos() const;
  bool adds_eos() const;
  /// Whether encode puts a space before a text, so that decode removes it again.
  bool adds_leading_space() const;

 private:
  using Words = std::vector<std::string_view>;
  void encode_fragment(std::string_view fragment, bool first, Words& words, std::vector<TokenId>& out) const;
  void encode_words(std::string_view text, Words& words, std::vector<TokenId>& out) const;

  const std::unique_ptr<const TokenizerParts> parts_;
  const uint64_t serial_;  ///< of no other tokenizer of the process: whose words a thread's cache holds
};

inline constexpr size_t kMaxEncodeBytes = size_t{1} << 28;        ///< longest text that encode takes
inline constexpr size_t kMaxSpecialTokenBytes = size_t{1} << 12;  ///< longest control or user-defined token
inline constexpr uint32_t kPatternMatchLimit = 10'000'000;        ///< PCRE2 steps for one piece, unknown patterns only
inline constexpr uint32_t kPatternHeapKib = 64 * 1024;            ///< PCRE2 heap for one piece, unknown patterns only

/// Throws Error(Part::text) naming the field that is inconsistent.
std::unique_ptr<Tokenizer> make_tokenizer(Vocabulary vocabulary);

/// What tokenizer_config.json says, as far as it matters here.
struct TokenizerConfig {
  std::optional<std::string> bos_token, eos_token, unk_token, pad_token;
  std::optional<bool> add_bos_token, add_eos_token;
  std::map<std::string, std::string> chat_templates;  ///< by name; a single template is "default"
};

/// Throws Error(Part::text) naming the field. An empty text gives an empty configuration.
TokenizerConfig read_tokenizer_config(std::string_view json);

/// A Hugging Face tokenizer.json: model BPE, byte-level or with byte fallback. Throws Error(Part::text) naming the part
/// that is wrong or not supported. `config_json` is tokenizer_config.json or empty.
std::unique_ptr<Tokenizer> read_tokenizer_json(std::string_view json, std::string_view config_json = {});

}  // namespace echelon
