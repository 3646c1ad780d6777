// The members of OpenAI's responses onto those of a chat.
#include "frontend/responses/responses_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

#include "frontend/openai/output_format.h"
#include "frontend/openai/tool_request.h"
#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace json = boost::json;

constexpr auto kRoles = std::to_array<std::string_view>({"system", "developer", "user", "assistant"});
constexpr auto kPartTypes = std::to_array<std::string_view>({"input_text", "output_text"});
/// Of an earlier answer, as clients hand it back.
constexpr auto kIgnoredOfItems = std::to_array<std::string_view>({"id", "status", "phase"});

constexpr std::string_view kLogprobs = "message.output_text.logprobs";
/// They add to items that no answer here has.
constexpr auto kOtherIncludes = std::to_array<std::string_view>(
    {"file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
     "message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs",
     "reasoning.encrypted_content"});

/// Chats and completions have them; a response has another name for it, or no member that could hold what they ask for.
constexpr auto kElsewhere = std::to_array<std::string_view>(
    {"max_tokens", "max_completion_tokens", "n", "prompt_logprobs", "return_token_ids"});

template <size_t N>
bool contains(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void fail_unsupported(JsonReader& reader, std::string_view name, std::string_view why) {
  reader.fail(name, fmt::format("{} is not supported{}", reader.full_name(name), why), "unsupported_parameter");
}

/// The assistant's message that an item belongs to: calls, reasoning and text that follow each other are one.
json::object& assistant_message(json::array& messages) {
  if (messages.empty() || messages.back().at("role") != "assistant")
    messages.push_back(json::object{{"role", "assistant"}, {"content", ""}});
  return messages.back().as_object();
}

void read_message(JsonReader& reader, json::array& messages) {
  std::string role;
  reader.require("role");
  reader.read_word("role", role, kRoles);
  reader.require("content");
  std::string text = read_text(reader, "content", kPartTypes);
  const bool follows_reasoning =
      role == "assistant" && !messages.empty() && messages.back().at("role") == "assistant" &&
      messages.back().at("content").as_string().empty() && !messages.back().as_object().contains("tool_calls");
  if (follows_reasoning) {
    messages.back().as_object()["content"] = std::move(text);
  } else {
    messages.push_back(json::object{{"role", role == "developer" ? "system" : role}, {"content", std::move(text)}});
  }
}

void read_call(JsonReader& reader, json::array& messages) {
  std::string id, name;
  for (const std::string_view member : {"call_id", "name"}) reader.require(member);
  reader.read("call_id", id);
  reader.read("name", name);
  json::object arguments = read_arguments(reader, "arguments");
  json::value& calls = assistant_message(messages)["tool_calls"];
  if (calls.is_null()) calls.emplace_array();
  calls.as_array().push_back(told_call(std::move(id), std::move(name), std::move(arguments)));
}

void read_call_output(JsonReader& reader, json::array& messages) {
  std::string id;
  for (const std::string_view member : {"call_id", "output"}) reader.require(member);
  reader.read("call_id", id);
  std::string text = read_text(reader, "output", kPartTypes);
  messages.push_back(json::object{{"role", "tool"}, {"content", std::move(text)}, {"tool_call_id", std::move(id)}});
}

/// Of an earlier answer of this server. Summaries are made from it elsewhere, and are not it.
void read_reasoning_item(JsonReader& reader, json::array& messages) {
  for (const std::string_view ignored : {"summary", "encrypted_content"}) reader.find(ignored);
  constexpr std::string_view kReasoningParts[] = {"reasoning_text"};
  std::string text = read_text(reader, "content", kReasoningParts);
  if (!text.empty()) assistant_message(messages)["reasoning_content"] = std::move(text);
}

void read_item(JsonReader& outer, json::array& messages) {
  constexpr std::string_view kKinds[] = {"message", "function_call", "function_call_output", "reasoning"};
  read_case(outer, "type", kKinds, "message", [&](JsonReader& reader, std::string_view kind) {
    if (kind == "message") return read_message(reader, messages);
    if (kind == "function_call") return read_call(reader, messages);
    if (kind == "function_call_output") return read_call_output(reader, messages);
    read_reasoning_item(reader, messages);
  });
}

void read_input(JsonReader& reader, json::array& messages) {
  std::string instructions;
  reader.read("instructions", instructions);
  if (!instructions.empty()) messages.push_back(json::object{{"role", "system"}, {"content", std::move(instructions)}});
  const auto read = [&](JsonReader& item) { read_item(item, messages); };
  reader.find_shaped("input", [&] {
    return any_of({json::object{{"type", "string"}}, array_shape(described(read, kIgnoredOfItems), kMaxMessages, 1)});
  });
  const json::value& input = reader.require("input");
  if (input.is_string()) {
    messages.push_back(json::object{{"role", "user"}, {"content", input.get_string()}});
    return;
  }
  read_elements(reader, "input", {1, kMaxMessages, "messages, or a string"}, read, kIgnoredOfItems);
  if (!reader.failed()) name_tool_messages(messages);
}

void read_text_options(JsonReader& reader, GenerationParams& params) {
  read_object(reader, "text", [&](JsonReader& text) {
    read_text_format(text, params);
    std::string verbosity = "medium";
    text.find("verbosity", R"({"const": "medium"})");
    text.read("verbosity", verbosity);
    if (verbosity != "medium") fail_unsupported(text, "verbosity", " but for medium");
  });
}

void read_logprobs(JsonReader& reader, SamplingParams& sampling) {
  bool wanted = false;
  const json::value* include = reader.find_shaped("include", [] {
    std::vector<std::string_view> known(kOtherIncludes.begin(), kOtherIncludes.end());
    known.push_back(kLogprobs);
    return json::object{{"type", "array"}, {"items", words_shape(known)}};
  });
  if (include != nullptr && !include->is_array())
    reader.fail("include", fmt::format("include must be an array, not {}", kind_name(*include)));
  for (const json::value& one : include != nullptr && include->is_array() ? include->get_array() : json::array{}) {
    const std::string_view name = one.is_string() ? std::string_view(one.get_string()) : "";
    wanted |= name == kLogprobs;
    if (name != kLogprobs && !contains(kOtherIncludes, name))
      reader.fail("include", fmt::format("include has a value that is not known; {} is", kLogprobs));
  }
  std::optional<int64_t> top;
  reader.read("top_logprobs", top, 0, kMaxLogprobs);
  if (top && *top > 0 && !wanted)
    reader.fail("top_logprobs", fmt::format("top_logprobs is only allowed with include: [\"{}\"]", kLogprobs));
  if (wanted) sampling.num_logprobs = static_cast<int>(top.value_or(0));
}

void read_truncation(JsonReader& reader, int max_model_len, GenerationParams& params) {
  constexpr std::string_view kTruncations[] = {"auto", "disabled"};
  std::string truncation = "disabled";
  reader.read_word("truncation", truncation, kTruncations);
  if (truncation == "disabled" || params.truncate_prompt_tokens) return;
  const int64_t room = params.max_tokens.value_or(max_model_len / 4);
  params.truncate_prompt_tokens = std::max<int64_t>(1, max_model_len - room);
}

constexpr std::string_view kAbsent = R"({"type": "null"})";

/// What asks for a memory, or for an answer of another kind.
void refuse_unserved(JsonReader& reader) {
  for (const std::string_view name : {"previous_response_id", "conversation"}) {
    if (reader.find(name, kAbsent) != nullptr)
      fail_unsupported(reader, name, ": nothing is stored here; send the whole conversation as input");
  }
  bool background = false;
  reader.find("background", R"({"const": false})");
  reader.read("background", background);
  if (background) fail_unsupported(reader, "background", ": an answer is only for the request it was asked by");
  for (const std::string_view name : kElsewhere) {
    const bool is_limit = name.starts_with("max_");
    if (reader.find(name, kAbsent) != nullptr)
      fail_unsupported(reader, name, is_limit ? " by /v1/responses; use max_output_tokens" : " by /v1/responses");
  }
}

/// Members that change nothing here, but that the answer repeats: of the right type, or a client could not read it.
void read_repeated(JsonReader& reader, json::object& variables) {
  read_object(reader, "reasoning", [&](JsonReader& reasoning) {
    std::string ignored;
    for (const std::string_view name : {"summary", "generate_summary"}) reasoning.read(name, ignored);
    read_reasoning_effort(reasoning, "effort", variables);
  });
  std::string text;
  for (const std::string_view name : {"prompt_cache_key", "safety_identifier"}) reader.read(name, text);
  std::optional<int64_t> max_tool_calls;
  reader.read("max_tool_calls", max_tool_calls, 1, std::numeric_limits<int32_t>::max());
  const json::value* metadata =
      reader.find("metadata", R"({"type": "object", "additionalProperties": {"type": "string"}})");
  if (metadata == nullptr) return;
  const auto is_text = [](const auto& member) { return member.value().is_string(); };
  if (!metadata->is_object() || !std::all_of(metadata->get_object().begin(), metadata->get_object().end(), is_text))
    reader.fail("metadata", "metadata must be an object of strings");
}

/// The request's members as OpenAI's `response` has them, with what holds where the request says nothing.
json::object repeated_members(const json::object& body, const SamplingParams& defaults) {
  json::object members{{"instructions", nullptr},
                       {"max_output_tokens", nullptr},
                       {"max_tool_calls", nullptr},
                       {"metadata", json::object{}},
                       {"parallel_tool_calls", true},
                       {"prompt_cache_key", nullptr},
                       {"reasoning", json::object{{"effort", nullptr}, {"summary", nullptr}}},
                       {"safety_identifier", nullptr},
                       {"temperature", shortest(defaults.temperature)},
                       {"text", json::object{{"format", json::object{{"type", "text"}}}}},
                       {"tool_choice", "auto"},
                       {"tools", json::array{}},
                       {"top_logprobs", 0},
                       {"top_p", shortest(defaults.top_p)},
                       {"truncation", "disabled"},
                       {"user", nullptr}};
  for (auto& member : members) {
    const json::value* given = body.if_contains(member.key());
    if (given != nullptr && !given->is_null()) member.value() = *given;
  }
  members["background"] = false;
  members["previous_response_id"] = nullptr;
  members["service_tier"] = "default";
  members["store"] = false;
  return members;
}

}  // namespace

void read_responses_request(JsonReader& reader, const ModelInfo& model, ChatRequest& request) {
  GenerationParams& params = request.params;
  request.conversation.parameter = "input";
  params.max_tokens_name = "max_output_tokens";
  refuse_unserved(reader);
  reader.read("max_output_tokens", params.max_tokens, 1, std::numeric_limits<int32_t>::max());
  read_generation_params(reader, model, 1, params);
  if (params.include_usage || params.continuous_usage)  // the last event always has it, the others have no place for it
    reader.fail("stream_options", "stream_options may only have include_obfuscation in /v1/responses");
  read_truncation(reader, model.max_model_len, params);
  read_logprobs(reader, params.sampling);
  read_text_options(reader, params);
  read_input(reader, request.conversation.messages);
  read_tools(reader, ToolShape::flat, request.conversation.tools);
  read_template_variables(reader, request.conversation.template_variables);
  read_repeated(reader, request.conversation.template_variables);
  reader.refuse_others(ignored_parameters());
}

RequestResult<AnswerSetup> prepare_responses(std::string_view body, std::shared_ptr<const ModelInfo> model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  auto request = parsed<ChatRequest>(*object, *model, &read_responses_request);
  if (request.has_error()) return request.error();
  json::object repeated = repeated_members(*object, model->default_sampling);
  auto setup = prepare_conversation(std::move(request->params), request->conversation, std::move(model));
  if (setup.has_value()) setup->repeated = std::move(repeated);
  return setup;
}

}  // namespace echelon
