// POST /v1/chat/completions: JSON to a typed request. Pure; knows no template and no tokenizer.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <span>
#include <string>
#include <string_view>

#include "frontend/openai/generation_params.h"
#include "frontend/parts/tool.h"

namespace echelon {

inline constexpr size_t kMaxMessages = 4096;
inline constexpr size_t kMaxContentParts = 4096;  ///< of one message

/// What a chat template needs.
struct Conversation {
  boost::json::array messages;  ///< {"role", "content": string, ..} as templates take them, in order
  ToolSet tools;
  boost::json::object template_variables;   ///< chat_template_kwargs
  std::string_view parameter = "messages";  ///< which they came in, for errors; a literal
  bool add_generation_prompt = true;
  bool continue_final_message = false;
};

struct ChatRequest {
  GenerationParams params;
  Conversation conversation;
};

void read_chat_request(JsonReader& reader, const ModelInfo& model, ChatRequest& request);
RequestResult<ChatRequest> parse_chat_request(const boost::json::object& body, const ModelInfo& model);

inline constexpr std::string_view kChatPartTypes[] = {"text"};

/// A string, or text parts joined with newlines; with an error in `reader` when it is neither. "" when it is absent.
std::string read_text(JsonReader& reader, std::string_view name,
                      std::span<const std::string_view> part_types = kChatPartTypes);

/// chat_template_kwargs
void read_template_variables(JsonReader& reader, boost::json::object& variables);

/// How much a model is to think, as the variables of templates that know of it: reasoning_effort, and enable_thinking
/// for none. Those of chat_template_kwargs win.
void read_reasoning_effort(JsonReader& reader, std::string_view name, boost::json::object& variables);

/// The members that /v1/chat/completions and /tokenize share.
void read_conversation(JsonReader& reader, Conversation& conversation);

/// /apply-template
void read_template_request(JsonReader& reader, const ModelInfo& model, Conversation& conversation);

/// The rendered text, cut behind the last message's content (continue_final_message).
RequestResult<std::string> cut_after_final_message(std::string rendered, const Conversation& conversation);

}  // namespace echelon
