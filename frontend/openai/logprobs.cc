// Float32 log-probabilities are written as the double of the same value, so that a client gets the exact bits back.
// The list of alternatives always holds the sampled token in a completion, as OpenAI's does.
#include "frontend/openai/logprobs.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "engine/text/utf8.h"

namespace echelon {
namespace {

namespace json = boost::json;

json::object described(TokenId token, float logprob, const Tokenizer& tokenizer) {
  const std::string_view bytes = tokenizer.token_bytes(token);
  json::object entry;
  entry["token"] = token_text(token, tokenizer);
  entry["logprob"] = finite_logprob(logprob);
  json::array& list = entry["bytes"].emplace_array();
  for (const char byte : bytes) list.emplace_back(static_cast<unsigned char>(byte));
  return entry;
}

}  // namespace

json::array prompt_logprobs_array(std::span<const TokenLogprob> entries, int num_top, const Tokenizer& tokenizer) {
  json::array all{nullptr};
  for (const TokenLogprob& entry : entries) {
    json::object of_token;
    const auto add = [&](TokenId token, float logprob, int rank) {
      of_token[std::to_string(token)] = json::object{
          {"logprob", finite_logprob(logprob)}, {"rank", rank}, {"decoded_token", token_text(token, tokenizer)}};
    };
    add(entry.token, entry.logprob, entry.rank);
    const size_t shown = std::min(entry.top.size(), static_cast<size_t>(std::max(num_top, 0)));
    for (size_t i = 0; i < shown; ++i) {
      if (entry.top[i].first != entry.token) add(entry.top[i].first, entry.top[i].second, static_cast<int>(i) + 1);
    }
    all.push_back(std::move(of_token));
  }
  return all;
}

std::string token_text(TokenId token, const Tokenizer& tokenizer) {
  return replace_invalid_utf8(tokenizer.token_bytes(token));
}

double finite_logprob(float logprob) {
  constexpr float kLeast = -9999.0f;
  return std::isnan(logprob) ? kLeast : static_cast<double>(std::max(logprob, kLeast));
}

json::object chat_logprob(const TokenLogprob& entry, int num_top, const Tokenizer& tokenizer) {
  json::object result = described(entry.token, entry.logprob, tokenizer);
  json::array& top = result["top_logprobs"].emplace_array();
  for (const auto& [token, logprob] : entry.top) {
    if (static_cast<int>(top.size()) >= num_top) break;
    top.push_back(described(token, logprob, tokenizer));
  }
  return result;
}

void CompletionLogprobs::add(TokenId token, const std::optional<TokenLogprob>& entry, int num_top, int64_t offset,
                             const Tokenizer& tokenizer) {
  tokens_.emplace_back(token_text(token, tokenizer));
  text_offset_.emplace_back(offset);
  if (!entry) {
    token_logprobs_.emplace_back(nullptr);
    top_logprobs_.emplace_back(nullptr);
    return;
  }
  token_logprobs_.emplace_back(finite_logprob(entry->logprob));
  json::object top;
  int num_listed = 0;
  for (const auto& [id, logprob] : entry->top) {
    if (num_listed++ >= num_top) break;
    top.emplace(token_text(id, tokenizer), finite_logprob(logprob));  // of two that read the same, the likelier stays
  }
  if (num_top > 0) top.emplace(token_text(token, tokenizer), finite_logprob(entry->logprob));
  top_logprobs_.emplace_back(std::move(top));
}

json::object CompletionLogprobs::take() {
  json::object result;
  result["tokens"] = std::exchange(tokens_, {});
  result["token_logprobs"] = std::exchange(token_logprobs_, {});
  result["top_logprobs"] = std::exchange(top_logprobs_, {});
  result["text_offset"] = std::exchange(text_offset_, {});
  return result;
}

}  // namespace echelon
