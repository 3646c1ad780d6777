// Log-probabilities in OpenAI's two shapes: a list of objects for chats, parallel arrays for completions.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "engine/request.h"
#include "engine/text/tokenizer.h"

namespace echelon {

/// One entry of choices[].logprobs.content; `num_top` of the most likely tokens are listed.
boost::json::object chat_logprob(const TokenLogprob& entry, int num_top, const Tokenizer& tokenizer);

/// choices[].logprobs of a completion: tokens, token_logprobs, top_logprobs, text_offset (in characters).
class CompletionLogprobs {
 public:
  /// `offset`: characters of the choice's text before the token. Without an entry (a prompt's first token) its values
  /// are null.
  void add(TokenId token, const std::optional<TokenLogprob>& entry, int num_top, int64_t offset,
           const Tokenizer& tokenizer);
  bool empty() const { return tokens_.empty(); }
  /// The object; the arrays are then empty again.
  boost::json::object take();

 private:
  boost::json::array tokens_, token_logprobs_, top_logprobs_, text_offset_;
};

/// vLLM's prompt_logprobs: null for the first token, then of each the likeliest `num_top` and itself, by token id.
boost::json::array prompt_logprobs_array(std::span<const TokenLogprob> entries, int num_top,
                                         const Tokenizer& tokenizer);

/// The token as text; parts of characters become U+FFFD.
std::string token_text(TokenId token, const Tokenizer& tokenizer);

/// JSON has no infinities: the least value is -9999, as in vLLM.
double finite_logprob(float logprob);

}  // namespace echelon
