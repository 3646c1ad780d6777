// The members of Anthropic's API onto those of a chat.
#include "frontend/anthropic/messages_request.h"

#include <fmt/format.h>

#include <array>
#include <limits>
#include <utility>

#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace json = boost::json;

/// They change nothing in an answer here: prompts are cached without being asked, and there is one speed.
constexpr auto kIgnored =
    std::to_array<std::string_view>({"service_tier", "cache_control", "speed", "user_profile_id", "workspace_id"});
constexpr auto kUnsupported =
    std::to_array<std::string_view>({"tools", "mcp_servers", "container", "output_config", "context_management"});

struct MessagesRequest {
  GenerationParams params;
  Conversation conversation;
};

void read_message(JsonReader& outer, const json::value& value, size_t index, json::array& messages) {
  const std::string path = fmt::format("messages[{}]", index);
  if (!value.is_object()) return outer.fail(path, fmt::format("{} must be an object, not {}", path, kind_name(value)));
  JsonReader reader(value.get_object(), path);
  std::string role;
  reader.require("role");
  reader.read("role", role);
  if (role != "user" && role != "assistant")
    reader.fail("role",
                fmt::format("{}.role must be user or assistant; the system prompt is a member of its own", path));
  std::string text = read_text(reader, "content", reader.require("content"));
  reader.refuse_others({});
  if (reader.error()) return outer.fail(*reader.error());
  if (!messages.empty() && messages.back().at("role").as_string() == std::string_view(role)) {
    json::string& before = messages.back().at("content").as_string();
    before += '\n';
    before += text;
    return;
  }
  messages.push_back(json::object{{"role", role}, {"content", std::move(text)}});
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
  const json::object& last = conversation.messages.back().as_object();
  conversation.continue_final_message = last.at("role") == "assistant" && !last.at("content").as_string().empty();
  conversation.add_generation_prompt = !conversation.continue_final_message;
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
  for (const std::string_view name : {"thinking", "tool_choice"}) {
    const json::value* value = reader.find(name);
    const json::value* type =
        value == nullptr || !value->is_object() ? nullptr : value->get_object().if_contains("type");
    if (value != nullptr && (type == nullptr || (*type != "disabled" && *type != "none")))
      reader.fail(name, fmt::format("{} is not supported with this value", name), "unsupported_parameter");
  }
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
