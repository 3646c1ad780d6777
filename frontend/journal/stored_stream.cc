#include "frontend/journal/stored_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "kernels/base/error.h"

namespace echelon {
namespace {

constexpr int64_t kMaxLength = 1 << 24;  ///< tokens of a choice
constexpr int64_t kMaxChoices = 1 << 12;

[[noreturn]] void damaged(std::string_view what) {
  throw Error(Part::frontend, fmt::format("a stream's {} cannot be", what));
}

}  // namespace

std::string bytes_of(const std::vector<TokenId>& tokens) {
  return {reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(TokenId)};
}

std::string bytes_of(const std::vector<std::vector<TokenId>>& prompts) {
  std::string bytes;
  for (const auto& prompt : prompts) {
    bytes += bytes_of(std::vector{static_cast<TokenId>(prompt.size())});
    bytes += bytes_of(prompt);
  }
  return bytes;
}

std::vector<TokenId> tokens_of(std::string_view bytes) {
  if (bytes.size() % sizeof(TokenId) != 0) damaged("tokens");
  std::vector<TokenId> tokens(bytes.size() / sizeof(TokenId));
  if (!tokens.empty()) std::memcpy(tokens.data(), bytes.data(), bytes.size());
  return tokens;
}

std::vector<std::vector<TokenId>> prompts_of(std::string_view bytes) {
  const std::vector<TokenId> numbers = tokens_of(bytes);
  std::vector<std::vector<TokenId>> prompts;
  for (auto at = numbers.begin(); at != numbers.end();) {
    const TokenId length = *at++;
    if (length < 0 || length > numbers.end() - at) damaged("prompts");
    prompts.emplace_back(at, at + length);
    at += length;
  }
  return prompts;
}

void add_piece(const StoredPiece& piece, StoredStream& stream) {
  if (piece.choice < 0 || piece.choice >= kMaxChoices || piece.position < 0 || piece.position > kMaxLength)
    damaged("places");
  const auto index = static_cast<size_t>(piece.choice), begin = static_cast<size_t>(piece.position);
  if (index >= stream.choices.size()) stream.choices.resize(index + 1);
  StoredChoice& choice = stream.choices[index];
  const std::vector<TokenId> tokens = tokens_of(piece.tokens);
  if (begin > choice.tokens.size() || choice.finish) return;
  const size_t known = std::min(choice.tokens.size() - begin, tokens.size());
  choice.tokens.insert(choice.tokens.end(), tokens.begin() + static_cast<ptrdiff_t>(known), tokens.end());
  if (!piece.finish || begin + tokens.size() != choice.tokens.size()) return;
  const bool is_end = *piece.finish == static_cast<int64_t>(FinishReason::stop) ||
                      *piece.finish == static_cast<int64_t>(FinishReason::length);
  if (!is_end || choice.tokens.empty()) damaged("ends");
  choice.finish = static_cast<FinishReason>(*piece.finish);
  if (piece.stop_token) choice.stop_token = static_cast<TokenId>(*piece.stop_token);
}

}  // namespace echelon
