// From a request's body to what the engine needs: parsing, templates, tokenising, and the checks between them. Pure and
// slow for large bodies (a megabyte of text takes tens of milliseconds): runs on a text thread then.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "frontend/openai/answer.h"
#include "frontend/openai/chat_request.h"
#include "frontend/openai/completion_request.h"

namespace echelon {

/// Whether it reasons before it answers, and marks that.
bool has_reasoning(const ModelInfo& model);

/// The text that a conversation becomes under the model's template. 400 when the template refuses it.
RequestResult<std::string> render_conversation(const Conversation& conversation, const ModelInfo& model);

/// Its tokens.
RequestResult<std::vector<TokenId>> conversation_tokens(const Conversation& conversation, const ModelInfo& model);

/// As prepare_chat, of a request that is read.
RequestResult<AnswerSetup> prepare_conversation(GenerationParams params, const Conversation& conversation,
                                                std::shared_ptr<const ModelInfo> model);

/// Everything of an AnswerSetup but id and created_unix_s. A request without a seed gets one.
RequestResult<AnswerSetup> prepare_chat(std::string_view body, std::shared_ptr<const ModelInfo> model);
RequestResult<AnswerSetup> prepare_completion(std::string_view body, std::shared_ptr<const ModelInfo> model);

/// The same of prompts whose hidden states are pooled, of `params.pooling`; `name` is the parameter they came in.
RequestResult<AnswerSetup> prepare_pooled(GenerationParams params, std::vector<PromptInput> inputs,
                                          bool add_special_tokens, std::string_view name,
                                          std::shared_ptr<const ModelInfo> model);

/// POST /apply-template: {"prompt": the conversation as text}, as llama-server has it.
RequestResult<boost::json::object> answer_apply_template(std::string_view body, const ModelInfo& model);
/// The bodies of /tokenize and /detokenize.
RequestResult<boost::json::object> answer_tokenize(std::string_view body, const ModelInfo& model);
RequestResult<boost::json::object> answer_detokenize(std::string_view body, const ModelInfo& model);

}  // namespace echelon
