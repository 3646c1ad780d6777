// The members of Anthropic's API onto those of a chat.
#include "frontend/anthropic/messages_request.h"

#include <fmt/format.h>

#include <array>
#include <limits>
#include <utility>

#include "frontend/openai/tool_request.h"
#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace json = boost::json;

/// They change nothing in an answer here: prompts are cached without being asked, and there is one speed.
constexpr auto kIgnored =
    std::to_array<std::string_view>({"service_tier", "cache_control", "speed", "user_profile_id", "workspace_id"});
constexpr auto kUnsupported =
    std::to_array<std::string_view>({"mcp_servers", "container", "output_config", "context_management"});
constexpr auto kIgnoredOfTools = std::to_array<std::string_view>({"cache_control", "defer_loading", "input_examples"});
/// Of a block's content: nothing here depends on them.
constexpr auto kIgnoredOfBlocks =
    std::to_array<std::string_view>({"cache_control", "citations", "signature", "data", "caller"});

/// The message that a block belongs to: those of one role that follow each other are one.
json::object& message_of(std::string_view role, json::array& messages) {
  if (messages.empty() || messages.back().at("role").as_string() != role)
    messages.push_back(json::object{{"role", role}, {"content", ""}});
  return messages.back().as_object();
}

void add_text(std::string_view text, json::object& message) {
  json::string& content = message["content"].as_string();
  if (!content.empty()) content += '\n';
  content += text;
}

void read_tool_use(JsonReader& block, json::array& messages) {
  std::string id, name;
  for (const std::string_view member : {"id", "name"}) block.require(member);
  block.read("id", id);
  block.read("name", name);
  const json::value* input = block.find("input", R"({"type": "object"})");
  if (input != nullptr && !input->is_object())
    return block.fail("input", fmt::format("{} must be an object", block.full_name("input")));
  json::value& calls = message_of("assistant", messages)["tool_calls"];
  if (calls.is_null()) calls.emplace_array();
  calls.as_array().push_back(
      told_call(std::move(id), std::move(name), input == nullptr ? json::object() : input->get_object()));
}

void read_tool_result(JsonReader& block, json::array& messages) {
  std::string id;
  bool is_error = false;
  block.require("tool_use_id");
  block.read("tool_use_id", id);
  block.read("is_error", is_error);  // the text says it
  std::string text = read_text(block, "content");
  messages.push_back(json::object{{"role", "tool"}, {"content", std::move(text)}, {"tool_call_id", std::move(id)}});
}

void read_block(JsonReader& block, std::string_view role, json::array& messages) {
  constexpr std::string_view kOfUser[] = {"text", "tool_result"};
  constexpr std::string_view kOfAssistant[] = {"text", "tool_use", "thinking", "redacted_thinking"};
  const auto kinds = role == "user" ? std::span<const std::string_view>(kOfUser) : kOfAssistant;
  read_case(block, "type", kinds, "", [&](JsonReader& members, std::string_view kind) {
    std::string text;
    if (kind == "text") {
      members.require("text");
      members.read("text", text);
      add_text(text, message_of(role, messages));
    } else if (kind == "tool_use") {
      read_tool_use(members, messages);
    } else if (kind == "tool_result") {
      read_tool_result(members, messages);
    } else if (kind == "thinking") {
      members.read("thinking", text);
      message_of(role, messages)["reasoning_content"] = std::move(text);
    }
  });
}

void read_message(JsonReader& outer, json::array& messages) {
  constexpr std::string_view kRoles[] = {"user", "assistant"};  // the system prompt is a member of its own
  read_case(outer, "role", kRoles, "", [&](JsonReader& reader, std::string_view role) {
    const auto read = [&](JsonReader& block) { read_block(block, role, messages); };
    reader.find_shaped("content", [&] {
      return any_of(
          {json::object{{"type", "string"}}, array_shape(described(read, kIgnoredOfBlocks), kMaxContentParts)});
    });
    const json::value& content = reader.require("content");
    if (content.is_string()) return add_text(content.get_string(), message_of(role, messages));
    read_elements(reader, "content", {0, kMaxContentParts, "blocks, or a string"}, read, kIgnoredOfBlocks);
  });
}

void read_messages(JsonReader& reader, Conversation& conversation) {
  std::string text = read_text(reader, "system");
  if (!text.empty()) conversation.messages.push_back(json::object{{"role", "system"}, {"content", std::move(text)}});
  reader.require("messages");
  read_elements(reader, "messages", {1, kMaxMessages, "messages"},
                [&](JsonReader& message) { read_message(message, conversation.messages); });
  if (reader.failed() || reader.describes()) return;
  if (conversation.messages.empty()) return reader.fail("messages", "messages has no text");
  name_tool_messages(conversation.messages);
  const json::object& last = conversation.messages.back().as_object();
  conversation.continue_final_message =
      last.at("role") == "assistant" && !last.at("content").as_string().empty() && !last.contains("tool_calls");
  conversation.add_generation_prompt = !conversation.continue_final_message;
}

/// Without it a model that can does not reason.
void read_thinking(JsonReader& reader, const ModelInfo& model, MessagesRequest& request) {
  std::string type = "disabled";
  read_object(reader, "thinking", [&](JsonReader& thinking) {
    constexpr std::string_view kTypes[] = {"enabled", "adaptive", "disabled"};
    std::optional<int64_t> budget;  // a model stops thinking when it does
    std::string display;
    thinking.require("type");
    thinking.read_word("type", type, kTypes);
    thinking.read("budget_tokens", budget, 1, std::numeric_limits<int32_t>::max());
    thinking.read("display", display);
  });
  request.params.include_reasoning = type != "disabled";
  request.conversation.template_variables["enable_thinking"] = request.params.include_reasoning;
  if (request.params.include_reasoning && !has_reasoning(model))
    reader.fail("thinking", "thinking is not supported by this model", "unsupported_parameter");
}

void read_tool_choice(JsonReader& reader, ToolSet& tools) {
  read_object(reader, "tool_choice", [&](JsonReader& choice) {
    constexpr std::string_view kTypes[] = {"auto", "any", "tool", "none"};
    std::string type, name;
    bool only_one = false;
    choice.require("type");
    choice.read_word("type", type, kTypes);
    choice.read("name", name);
    choice.read("disable_parallel_tool_use", only_one);
    tools.parallel = !only_one;
    if (type == "none") {
      tools.choice = ToolChoice::none;
    } else if (type == "any" || type == "tool") {
      tools.choice = ToolChoice::required;
      if (tools.tools.empty()) choice.fail("type", "tool_choice.type may only be any or tool with tools");
    }
    if (type != "tool" || choice.failed()) return;
    tools.parallel = false;
    keep_tools(choice, "name", {name}, tools);
  });
  tools.drop_unless_callable();
}

void read_tools(JsonReader& reader, ToolSet& tools) {
  const auto read = [&](JsonReader& tool) {
    std::string type = "custom", name, description;
    bool strict = false;
    tool.find("type", R"({"const": "custom"})");
    tool.read("type", type);
    if (type != "custom")
      return tool.fail("type", fmt::format("{} must be custom; no other tools are served", tool.full_name("type")),
                       "unsupported_parameter");
    for (const std::string_view member : {"name", "input_schema"}) tool.require(member);
    tool.read("name", name);
    tool.read("description", description);
    tool.read("strict", strict);
    add_tool(tool, std::move(name), description, "input_schema", strict, tools);
  };
  read_elements(reader, "tools", {0, kMaxTools, "tools"}, read, kIgnoredOfTools);
  if (!reader.failed()) read_tool_choice(reader, tools);
}

/// Members that both endpoints take; what is not served must ask for nothing.
void read_common(JsonReader& reader, const ModelInfo& model, MessagesRequest& request) {
  read_model(reader, model);
  reader.require("model");
  read_messages(reader, request.conversation);
  for (const auto name : kUnsupported) {
    const json::value* value = reader.find(name, R"({"type": ["array", "object"], "maxItems": 0, "maxProperties": 0})");
    const bool empty = value == nullptr || (value->is_array() && value->get_array().empty()) ||
                       (value->is_object() && value->get_object().empty());
    if (!empty) reader.fail(name, fmt::format("{} is not supported", name), "unsupported_parameter");
  }
  read_thinking(reader, model, request);
  read_tools(reader, request.conversation.tools);
}

void read_metadata(JsonReader& reader, std::string& user) {
  read_object(reader, "metadata", [&](JsonReader& metadata) { metadata.read("user_id", user); });
}

void read_stop_sequences(JsonReader& reader, std::vector<std::string>& stop) {
  const json::value* value = reader.find_shaped("stop_sequences", [] {
    return array_shape({{"type", "string"}, {"minLength", 1}, {"maxLength", kMaxStopStringBytes}}, kMaxStopStrings);
  });
  if (value != nullptr && !value->is_array())
    return reader.fail("stop_sequences", fmt::format("stop_sequences must be an array, not {}", kind_name(*value)));
  read_strings(reader, "stop_sequences", kMaxStopStrings, kMaxStopStringBytes, stop);
}

}  // namespace

void read_messages_request(JsonReader& reader, const ModelInfo& model, MessagesRequest& request) {
  GenerationParams& params = request.params;
  read_common(reader, model, request);
  params.sampling = model.default_sampling;
  constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
  reader.require("max_tokens");
  reader.read("max_tokens", params.max_tokens, 1, kInt32Max);
  reader.read("temperature", params.sampling.temperature, kTemperatureRange);
  reader.read("top_p", params.sampling.top_p, kTopPRange);
  reader.read("top_k", params.sampling.top_k, 0, kInt32Max);
  reader.read("stream", params.stream);
  read_stop_sequences(reader, params.stop);
  read_metadata(reader, params.user);
  reader.refuse_others(kIgnored);
}

void read_count_request(JsonReader& reader, const ModelInfo& model, MessagesRequest& request) {
  read_common(reader, model, request);
  reader.refuse_others(kIgnored);
}

RequestResult<AnswerSetup> prepare_messages(std::string_view body, std::shared_ptr<const ModelInfo> model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  auto request = parsed<MessagesRequest>(*object, *model, &read_messages_request);
  if (request.has_error()) return request.error();
  return prepare_conversation(std::move(request->params), request->conversation, std::move(model));
}

RequestResult<json::object> answer_count_tokens(std::string_view body, const ModelInfo& model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  const auto request = parsed<MessagesRequest>(*object, model, &read_count_request);
  if (request.has_error()) return request.error();
  const auto tokens = conversation_tokens(request->conversation, model);
  if (tokens.has_error()) return tokens.error();
  return json::object{{"input_tokens", tokens->size()}};
}

json::object messages_error_body(const RequestError& error) {
  const auto type = [&]() -> std::string_view {
    switch (error.http_status) {
      case 401:
        return "authentication_error";
      case 403:
        return "permission_error";
      case 404:
        return "not_found_error";
      case 408:
      case 504:
        return "timeout_error";
      case 413:
        return "request_too_large";
      case 429:
        return "rate_limit_error";
      case 503:
        return "overloaded_error";
      default:
        return error.http_status < 500 ? "invalid_request_error" : "api_error";
    }
  };
  return {{"type", "error"}, {"error", json::object{{"type", type()}, {"message", error.message}}}};
}

}  // namespace echelon
