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

struct MessagesRequest {
  GenerationParams params;
  Conversation conversation;
};

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
  const json::value* input = block.find("input");
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
  const json::value* content = block.find("content");
  std::string text = content == nullptr ? "" : read_text(block, "content", *content);
  messages.push_back(json::object{{"role", "tool"}, {"content", std::move(text)}, {"tool_call_id", std::move(id)}});
}

void read_block(JsonReader& block, std::string_view role, json::array& messages) {
  std::string type, text;
  block.require("type");
  block.read("type", type);
  const bool is_user = role == "user";
  if (type == "text") {
    block.require("text");
    block.read("text", text);
    add_text(text, message_of(role, messages));
  } else if (type == "tool_use" && !is_user) {
    read_tool_use(block, messages);
  } else if (type == "tool_result" && is_user) {
    read_tool_result(block, messages);
  } else if (type == "thinking" && !is_user) {
    block.read("thinking", text);
    message_of(role, messages)["reasoning_content"] = std::move(text);
  } else if (!(type == "redacted_thinking" && !is_user)) {
    block.fail("type",
               fmt::format("{} must be text, or of the user tool_result, or of the assistant tool_use or thinking",
                           block.full_name("type")),
               "unsupported_parameter");
  }
}

void read_message(JsonReader& outer, const json::value& value, size_t index, json::array& messages) {
  read_element(outer, fmt::format("messages[{}]", index), value, [&](JsonReader& reader) {
    std::string role;
    reader.require("role");
    reader.read("role", role);
    if (role != "user" && role != "assistant")
      reader.fail("role", fmt::format("{} must be user or assistant; the system prompt is a member of its own",
                                      reader.full_name("role")));
    const json::value& content = reader.require("content");
    if (reader.failed()) return;
    if (!content.is_array() || content.get_array().size() > kMaxContentParts)
      return add_text(read_text(reader, "content", content), message_of(role, messages));
    for (size_t i = 0; i < content.get_array().size() && !reader.failed(); ++i) {
      read_element(
          reader, fmt::format("content[{}]", i), content.get_array()[i],
          [&](JsonReader& block) { read_block(block, role, messages); }, kIgnoredOfBlocks);
    }
  });
}

void read_messages(JsonReader& reader, Conversation& conversation) {
  if (const json::value* system = reader.find("system")) {
    std::string text = read_text(reader, "system", *system);
    if (!text.empty()) conversation.messages.push_back(json::object{{"role", "system"}, {"content", std::move(text)}});
  }
  const json::value& messages = reader.require("messages");
  if (reader.failed()) return;
  if (!messages.is_array() || messages.get_array().empty() || messages.get_array().size() > kMaxMessages) {
    return reader.fail("messages", fmt::format("messages must be an array of 1 to {} messages", kMaxMessages));
  }
  for (size_t i = 0; i < messages.get_array().size() && !reader.failed(); ++i)
    read_message(reader, messages.get_array()[i], i, conversation.messages);
  if (reader.failed()) return;
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
    std::optional<int64_t> budget;  // a model stops thinking when it does
    std::string display;
    thinking.require("type");
    thinking.read("type", type);
    thinking.read("budget_tokens", budget, 1, std::numeric_limits<int32_t>::max());
    thinking.read("display", display);
    if (type != "enabled" && type != "adaptive" && type != "disabled")
      thinking.fail("type", "thinking.type must be enabled, adaptive or disabled");
  });
  request.params.include_reasoning = type != "disabled";
  request.conversation.template_variables["enable_thinking"] = request.params.include_reasoning;
  if (request.params.include_reasoning && !has_reasoning(model))
    reader.fail("thinking", "thinking is not supported by this model", "unsupported_parameter");
}

void read_tool_choice(JsonReader& reader, ToolSet& tools) {
  read_object(reader, "tool_choice", [&](JsonReader& choice) {
    std::string type, name;
    bool only_one = false;
    choice.require("type");
    choice.read("type", type);
    choice.read("name", name);
    choice.read("disable_parallel_tool_use", only_one);
    tools.parallel = !only_one;
    if (type == "none") {
      tools.choice = ToolChoice::none;
    } else if (type == "any" || type == "tool") {
      tools.choice = ToolChoice::required;
      if (tools.tools.empty()) choice.fail("type", "tool_choice.type may only be any or tool with tools");
    } else if (type != "auto") {
      choice.fail("type", "tool_choice.type must be auto, any, tool or none");
    }
    if (type != "tool" || choice.failed()) return;
    tools.parallel = false;
    keep_tools(choice, "name", {name}, tools);
  });
  tools.drop_unless_callable();
}

void read_tools(JsonReader& reader, ToolSet& tools) {
  const json::value* list = reader.find("tools");
  if (list != nullptr && (!list->is_array() || list->get_array().size() > kMaxTools))
    return reader.fail("tools", fmt::format("tools must be an array of at most {} tools", kMaxTools));
  const auto read = [&](JsonReader& tool) {
    std::string type = "custom", name, description;
    bool strict = false;
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
  for (size_t i = 0; list != nullptr && i < list->get_array().size() && !reader.failed(); ++i)
    read_element(reader, fmt::format("tools[{}]", i), list->get_array()[i], read, kIgnoredOfTools);
  if (!reader.failed()) read_tool_choice(reader, tools);
}

/// Members that both endpoints take; what is not served must ask for nothing.
void read_common(JsonReader& reader, const ModelInfo& model, MessagesRequest& request) {
  reader.require("model");
  reader.read("model", request.params.model);
  if (!reader.failed()) {
    if (auto error = check_model(request.params.model, model)) reader.fail(*error);
  }
  read_messages(reader, request.conversation);
  for (const auto name : kUnsupported) {
    const json::value* value = reader.find(name);
    const bool empty = value == nullptr || (value->is_array() && value->get_array().empty()) ||
                       (value->is_object() && value->get_object().empty());
    if (!empty) reader.fail(name, fmt::format("{} is not supported", name), "unsupported_parameter");
  }
  read_thinking(reader, model, request);
  read_tools(reader, request.conversation.tools);
}

void read_metadata(JsonReader& reader, std::string& user) {
  const json::value* value = reader.find("metadata");
  if (value == nullptr) return;
  if (!value->is_object()) return reader.fail("metadata", "metadata must be an object");
  JsonReader metadata(value->get_object(), "metadata");
  metadata.read("user_id", user);
  metadata.refuse_others({});
  if (metadata.error()) reader.fail(*metadata.error());
}

void read_stop_sequences(JsonReader& reader, std::vector<std::string>& stop) {
  const json::value* value = reader.find("stop_sequences");
  if (value != nullptr && !value->is_array())
    return reader.fail("stop_sequences", fmt::format("stop_sequences must be an array, not {}", kind_name(*value)));
  read_strings(reader, "stop_sequences", kMaxStopStrings, kMaxStopStringBytes, stop);
}

RequestResult<MessagesRequest> parse_messages_request(const json::object& body, const ModelInfo& model) {
  MessagesRequest request;
  GenerationParams& params = request.params;
  JsonReader reader(body);
  read_common(reader, model, request);
  params.sampling = model.default_sampling;
  constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
  reader.require("max_tokens");
  reader.read("max_tokens", params.max_tokens, 1, kInt32Max);
  reader.read("temperature", params.sampling.temperature);
  reader.read("top_p", params.sampling.top_p);
  reader.read("top_k", params.sampling.top_k, 0, kInt32Max);
  reader.read("stream", params.stream);
  read_stop_sequences(reader, params.stop);
  read_metadata(reader, params.user);
  reader.refuse_others(kIgnored);
  if (reader.error()) return *reader.error();
  return request;
}

}  // namespace

RequestResult<AnswerSetup> prepare_messages(std::string_view body, std::shared_ptr<const ModelInfo> model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  auto request = parse_messages_request(*object, *model);
  if (request.has_error()) return request.error();
  return prepare_conversation(std::move(request->params), request->conversation, std::move(model));
}

RequestResult<json::object> answer_count_tokens(std::string_view body, const ModelInfo& model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  MessagesRequest request;
  JsonReader reader(*object);
  read_common(reader, model, request);
  reader.refuse_others(kIgnored);
  if (reader.error()) return *reader.error();
  const auto tokens = conversation_tokens(request.conversation, model);
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
