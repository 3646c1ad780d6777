// A stream as the journal keeps it, and its prompts and tokens as bytes. What is read back may be anybody's: it is
// checked. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"

namespace echelon {

/// Of one choice of one prompt, as the engine gave it.
struct StoredChoice {
  std::vector<TokenId> tokens;
  std::optional<FinishReason> finish;  ///< stop or length
  std::optional<TokenId> stop_token;   ///< the last of tokens, when it ended the choice
};

struct StoredStream {
  int64_t number = 0;  ///< by the journal
  std::string id;      ///< the answer's
  std::string tenant;  ///< two may have the same id
  std::string path;    ///< the endpoint's
  std::string body;
  std::string fingerprint;  ///< ModelInfo::fingerprint
  int64_t began_unix_ms = 0;
  uint64_t seed = 0;
  std::vector<std::vector<TokenId>> prompts;  ///< a template may tell the time
  std::vector<StoredChoice> choices;          ///< prompt x n + choice; those without a token may be missing at the end
};

/// Tokens of a choice that came together.
struct StoredPiece {
  int64_t choice = 0, position = 0;  ///< how many tokens the choice had before
  std::string_view tokens;           ///< as bytes
  std::optional<int64_t> finish, stop_token;
};

/// Little-endian int32; of prompts each with its length before it.
std::string bytes_of(const std::vector<TokenId>& tokens);
std::string bytes_of(const std::vector<std::vector<TokenId>>& prompts);

/// Throw Error(Part::frontend) for what bytes_of() has not written.
std::vector<TokenId> tokens_of(std::string_view bytes);
std::vector<std::vector<TokenId>> prompts_of(std::string_view bytes);

/// Pieces come by position. Tokens that are there are said again, and behind a hole they are left out. Throws
/// Error(Part::frontend) for numbers that cannot be.
void add_piece(const StoredPiece& piece, StoredStream& stream);

}  // namespace echelon
