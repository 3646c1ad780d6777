// POST /tokenize and /detokenize, in vLLM's shapes.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <vector>

#include "frontend/openai/chat_request.h"
#include "kernels/base/limits.h"

namespace echelon {

struct TokenizeRequest {
  std::string prompt;  ///< when there is no conversation
  std::optional<Conversation> conversation;
  bool add_special_tokens = true;  ///< default: true for a prompt, false for messages
  bool return_token_strings = false;
};

struct DetokenizeRequest {
  std::vector<TokenId> tokens;
};

void read_tokenize_request(JsonReader& reader, const ModelInfo& model, TokenizeRequest& request);
void read_detokenize_request(JsonReader& reader, const ModelInfo& model, DetokenizeRequest& request);
RequestResult<TokenizeRequest> parse_tokenize_request(const boost::json::object& body, const ModelInfo& model);
RequestResult<DetokenizeRequest> parse_detokenize_request(const boost::json::object& body, const ModelInfo& model);

/// What clients that bring no tokenizer ask for: special tokens and the chat template.
boost::json::object tokenizer_info_body(const ModelInfo& model);

boost::json::object tokenize_body(const std::vector<TokenId>& tokens, bool with_strings, const ModelInfo& model);

}  // namespace echelon
