// POST /v1/completions: JSON to a typed request. Pure; knows no tokenizer.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "frontend/openai/generation_params.h"

namespace echelon {

/// One prompt, as text or as token ids.
using PromptInput = std::variant<std::string, std::vector<TokenId>>;

struct CompletionRequest {
  GenerationParams params;
  std::vector<PromptInput> prompts;  ///< at least one; prompts x n <= kMaxPromptsTimesChoices
  bool echo = false;
  bool echo_only = false;  ///< max_tokens 0: nothing generated is shown
  bool add_special_tokens = true;
};

void read_completion_request(JsonReader& reader, const ModelInfo& model, CompletionRequest& request);
RequestResult<CompletionRequest> parse_completion_request(const boost::json::object& body, const ModelInfo& model);

/// `prompt`, or another member of that kind, in its four forms: a string, strings, token ids, lists of token ids, at
/// most `most` of them. It has to be there.
std::vector<PromptInput> read_prompts(JsonReader& reader, std::string_view name, int64_t vocab_size, size_t most);

}  // namespace echelon
