// What becomes of a prompt that the context has no room for, where the request says so (`long_input`). Pure.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "frontend/openai/answer.h"
#include "frontend/openai/chat_request.h"

namespace echelon {

/// Whether `num_tokens` of a prompt leave no room for what the request wants, or for one token where it does not say.
bool is_too_long(size_t num_tokens, const GenerationParams& params, const ModelInfo& model);

/// Tokens of a prompt that leave room for the answer: for max_tokens, or `default_max_tokens`, or where that is 0 for a
/// quarter of the context. At least 1. A window that slides keeps three quarters of the context at least.
int64_t prompt_room(const GenerationParams& params, int default_max_tokens, const ModelInfo& model);

/// Answers of several parts are text alone: what could not be joined is refused by name.
std::optional<RequestError> check_joinable(const GenerationParams& params, bool echoes);

/// Parts of at most `room` tokens, equally long but for one token, each behind what was added to the whole (BOS).
/// The whole has to be longer than `room`, and `room` than what was added.
std::vector<AnswerPrompt> split_prompt(const AnswerPrompt& whole, size_t room);

/// The tokens of a conversation, or why there are none.
using ConversationTokens = std::function<RequestResult<std::vector<TokenId>>(const Conversation&)>;

/// The conversation once for every part of its user's longest message; parts end behind a line or a word where there is
/// one. 400 when what is around that message has no room.
RequestResult<std::vector<AnswerPrompt>> split_conversation(const Conversation& conversation, size_t room,
                                                            const ConversationTokens& tokens_of);

}  // namespace echelon
