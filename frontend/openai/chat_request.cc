// Messages are normalised on the way: contents become strings (text parts joined with a newline, as vLLM does), the
// role `developer` becomes `system`, and what a message may not carry here is refused by name.
#include "frontend/openai/chat_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "frontend/openai/output_format.h"
#include "frontend/openai/tool_request.h"
#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace json = boost::json;

constexpr auto kRoles = std::to_array<std::string_view>({"system", "developer", "user", "assistant", "tool"});
/// Members of an assistant's message as OpenAI's clients hand them back, when they hold nothing.
constexpr auto kEmptyMembers = std::to_array<std::string_view>({"refusal", "annotations", "audio", "function_call"});

/// Only template variables that the request has no other way to say.
constexpr auto kReservedVariables =
    std::to_array<std::string_view>({"messages", "add_generation_prompt", "bos_token", "eos_token", "tools"});

constexpr std::string_view kNothing = R"({"type": ["array", "string"], "maxItems": 0, "maxLength": 0})";
bool holds_nothing(const json::value& value) {
  return (value.is_array() && value.get_array().empty()) || (value.is_string() && value.get_string().empty());
}

/// What only an assistant's message or a tool's may have.
void read_role_members(JsonReader& reader, std::string_view role, json::object& message) {
  if (role == "assistant") {
    read_tool_calls(reader, message);
    std::string reasoning;
    reader.read("reasoning", reasoning);
    reader.read("reasoning_content", reasoning);
    if (!reasoning.empty()) message["reasoning_content"] = std::move(reasoning);
  } else if (role == "tool") {
    std::string id;
    reader.require("tool_call_id");
    reader.read("tool_call_id", id);
    message["tool_call_id"] = std::move(id);
  } else if (const json::value* calls = reader.find("tool_calls", kNothing);
             calls != nullptr && !holds_nothing(*calls)) {
    reader.fail("tool_calls",
                fmt::format("{} is only allowed with the role assistant", reader.full_name("tool_calls")));
  }
}

void read_message(JsonReader& outer, json::array& messages) {
  read_case(outer, "role", kRoles, "", [&](JsonReader& reader, std::string_view role) {
    json::object message;
    for (const auto member : kEmptyMembers) {
      const json::value* extra = reader.find(member, kNothing);
      if (extra != nullptr && !holds_nothing(*extra))
        reader.fail(member, fmt::format("{} is not supported", reader.full_name(member)), "unsupported_parameter");
    }
    message["role"] = role == "developer" ? "system" : role;
    message["content"] = read_text(reader, "content");
    if (role != "assistant") reader.require("content");
    std::string name;
    reader.read("name", name);
    if (!name.empty()) message["name"] = std::move(name);
    read_role_members(reader, role, message);
    reader.find("parsed");  // what a client made of the content
    messages.push_back(std::move(message));
  });
}

void read_logprobs(JsonReader& reader, SamplingParams& sampling) {
  bool wanted = false;
  std::optional<int64_t> top;
  reader.read("logprobs", wanted);
  reader.read("top_logprobs", top, 0, kMaxLogprobs);
  if (top && *top > 0 && !wanted) reader.fail("top_logprobs", "top_logprobs is only allowed with logprobs: true");
  if (wanted) sampling.num_logprobs = static_cast<int>(top.value_or(0));
}

}  // namespace

void read_template_variables(JsonReader& reader, json::object& variables) {
  const json::value* value = reader.find("chat_template_kwargs", R"({"type": "object"})");
  if (value == nullptr) return;
  if (!value->is_object()) {
    reader.fail("chat_template_kwargs",
                fmt::format("chat_template_kwargs must be an object, not {}", kind_name(*value)));
    return;
  }
  for (const auto name : kReservedVariables) {
    if (value->get_object().contains(name))
      reader.fail(fmt::format("chat_template_kwargs.{}", name),
                  fmt::format("chat_template_kwargs may not set {}", name));
  }
  variables = value->get_object();
}

void read_reasoning_effort(JsonReader& reader, std::string_view name, json::object& variables) {
  constexpr std::string_view kEfforts[] = {"none", "minimal", "low", "medium", "high", "xhigh"};
  std::string effort;
  reader.read_word(name, effort, kEfforts);
  if (effort.empty()) return;
  if (effort == "none") variables.emplace("enable_thinking", false);
  variables.emplace("reasoning_effort", std::move(effort));
}

std::string read_text(JsonReader& reader, std::string_view name, std::span<const std::string_view> part_types) {
  const json::value* found = reader.find_shaped(name, [&] {
    const json::object text{{"type", "string"}};
    ObjectSchema part;
    for (const std::string_view member : {"type", "text"}) part.require(member);
    part.add("type", words_shape(part_types));
    part.add("text", text);
    part.allow_others();
    return any_of({text, array_shape(std::move(part).take(), kMaxContentParts)});
  });
  if (found == nullptr) return {};
  const json::value& content = *found;
  if (content.is_string()) return std::string(content.get_string());
  if (!content.is_array()) {
    reader.fail(name, fmt::format("{} must be a string or an array of text parts, not {}", reader.full_name(name),
                                  kind_name(content)));
    return {};
  }
  const json::array& parts = content.get_array();
  if (parts.size() > kMaxContentParts) {
    reader.fail(name, fmt::format("{} has more than {} parts", reader.full_name(name), kMaxContentParts));
    return {};
  }
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    const json::object* part = parts[i].if_object();
    const json::value* type = part == nullptr ? nullptr : part->if_contains("type");
    const json::value* value = part == nullptr ? nullptr : part->if_contains("text");
    const bool is_text = type != nullptr && type->is_string() &&
                         std::find(part_types.begin(), part_types.end(), type->get_string()) != part_types.end();
    if (!is_text || value == nullptr || !value->is_string()) {
      const std::string path = fmt::format("{}[{}]", name, i);
      reader.fail(path, fmt::format("{} must be {{\"type\": \"{}\", \"text\": ...}}; only text is supported",
                                    reader.full_name(path), part_types.front()));
      return {};
    }
    if (i > 0) text += '\n';
    text += value->get_string();
  }
  return text;
}

void read_conversation(JsonReader& reader, Conversation& conversation) {
  reader.require("messages");
  read_elements(reader, "messages", {1, kMaxMessages, "messages"},
                [&](JsonReader& message) { read_message(message, conversation.messages); });
  if (!reader.failed()) name_tool_messages(conversation.messages);
  read_tools(reader, ToolShape::nested, conversation.tools);
  read_template_variables(reader, conversation.template_variables);
  read_reasoning_effort(reader, "reasoning_effort", conversation.template_variables);
  reader.read("continue_final_message", conversation.continue_final_message);
  conversation.add_generation_prompt = !conversation.continue_final_message;
  reader.read("add_generation_prompt", conversation.add_generation_prompt);
  if (conversation.continue_final_message && conversation.add_generation_prompt)
    reader.fail("add_generation_prompt", "add_generation_prompt and continue_final_message exclude each other");
  if (!reader.failed() && conversation.continue_final_message) {
    const json::object& last = conversation.messages.back().as_object();
    if (last.at("role") != "assistant" || last.at("content").as_string().empty())
      reader.fail("continue_final_message",
                  "continue_final_message needs a last message of the role assistant with text");
  }
}

void read_template_request(JsonReader& reader, const ModelInfo& model, Conversation& conversation) {
  read_model(reader, model);
  read_conversation(reader, conversation);
  reader.refuse_others({});
}

void read_chat_request(JsonReader& reader, const ModelInfo& model, ChatRequest& request) {
  read_generation_params(reader, model, 1, request.params);
  read_logprobs(reader, request.params.sampling);
  read_response_format(reader, request.params);
  reader.read("include_reasoning", request.params.include_reasoning);
  read_conversation(reader, request.conversation);
  refuse_unsupported(reader, true, request.params.num_choices);
  bool echo = false;
  reader.find("echo", R"({"const": false})");
  reader.read("echo", echo);
  if (echo) reader.fail("echo", "echo is only supported by /v1/completions", "unsupported_parameter");
  reader.refuse_others(ignored_parameters());
}

RequestResult<ChatRequest> parse_chat_request(const json::object& body, const ModelInfo& model) {
  return parsed<ChatRequest>(body, model, &read_chat_request);
}

RequestResult<std::string> cut_after_final_message(std::string rendered, const Conversation& conversation) {
  std::string_view content(conversation.messages.back().as_object().at("content").as_string());
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t end = content.find_last_not_of(kSpace);  // templates trim contents
  const size_t begin = content.find_first_not_of(kSpace);
  if (end == std::string_view::npos)
    return bad_request("continue_final_message", "the last message has no text to continue");
  const std::string_view trimmed = content.substr(begin, end - begin + 1);
  const size_t at = rendered.rfind(trimmed);
  if (at == std::string::npos)
    return bad_request("continue_final_message",
                       "the model's template changes the last message's text, so that it cannot be continued");
  size_t cut = at + trimmed.size();
  const std::string_view tail = content.substr(end + 1);  // kept where the template keeps it
  if (std::string_view(rendered).substr(cut).starts_with(tail)) cut += tail.size();
  rendered.resize(cut);
  return rendered;
}

}  // namespace echelon
