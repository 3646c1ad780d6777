// POST /v1/responses, in the shapes of OpenAI's API, without its memory: every request brings its whole conversation.
// Pure functions: JSON to a request that the rest of the front end knows, or an error that names the parameter.
#pragma once

#include <memory>
#include <string_view>

#include "frontend/openai/prepare.h"

namespace echelon {

void read_responses_request(JsonReader& reader, const ModelInfo& model, ChatRequest& request);

/// Text and functions alone: other tools, images, files and other items are refused by name. What chats take beyond
/// OpenAI's parameters (seed, top_k, chat_template_kwargs, ..) is taken here, too. truncation "auto" drops the first
/// tokens of a prompt that leaves no room for max_output_tokens, or for a quarter of the context.
RequestResult<AnswerSetup> prepare_responses(std::string_view body, std::shared_ptr<const ModelInfo> model);

}  // namespace echelon
