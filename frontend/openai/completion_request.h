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

/// `prompt`, or another member of that kind, in its four forms: a string, strings, token ids, lists of token ids.
RequestResult<std::vector<PromptInput>> read_prompts(const boost::json::value& value, int64_t vocab_size,
                                                     std::string_view name = "prompt");
/// The same as JSON Schema.
boost::json::object prompts_shape(int64_t vocab_size);

}  // namespace echelon
