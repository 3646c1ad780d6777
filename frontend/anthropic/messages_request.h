// POST /v1/messages and /v1/messages/count_tokens, in the shapes of Anthropic's API. Pure functions: JSON to a request
// that the rest of the front end knows, or an error that names the parameter.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <string_view>

#include "frontend/openai/prepare.h"

namespace echelon {

struct MessagesRequest {
  GenerationParams params;
  Conversation conversation;
};
void read_messages_request(JsonReader& reader, const ModelInfo& model, MessagesRequest& request);
/// Of count_tokens.
void read_count_request(JsonReader& reader, const ModelInfo& model, MessagesRequest& request);

/// Text and functions alone: images, documents and other tools are refused by name. Messages of one role that follow
/// each other become one; a last message of the assistant is continued.
RequestResult<AnswerSetup> prepare_messages(std::string_view body, std::shared_ptr<const ModelInfo> model);
/// {"input_tokens": N}
RequestResult<boost::json::object> answer_count_tokens(std::string_view body, const ModelInfo& model);

/// {"type": "error", "error": {"type", "message"}}
boost::json::object messages_error_body(const RequestError& error);

}  // namespace echelon
