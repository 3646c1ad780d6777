// Tools of chats, responses and messages: what is read, what the model is told, and how its calls come out.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "frontend/anthropic/messages_answer.h"
#include "frontend/anthropic/messages_request.h"
#include "frontend/openai/output_format.h"
#include "frontend/openai/prepare.h"
#include "frontend/responses/responses_answer.h"
#include "frontend/responses/responses_request.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/small_model.h"

namespace echelon {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;
using testing::small_model;
using testing::stream_data;

constexpr std::string_view kTools =
    R"("tools":[{"type":"function","function":{"name":"get","description":"looks up","parameters":{"type":"object",
       "properties":{"a":{"type":"integer"}},"required":["a"]}}},{"type":"function","function":{"name":"list"}}])";

/// A template that writes what it is told.
std::shared_ptr<const ModelInfo> model_with(std::string chat_template) {
  auto model = std::make_shared<ModelInfo>(*small_model());
  model->chat_template = std::make_shared<const ChatTemplate>(ChatTemplate::parse(chat_template));
  return model;
}
std::shared_ptr<const ModelInfo> telling_model(std::string marks) {
  return model_with(
      "{% if tools %}{{ tools | tojson }}\n{% endif %}{% for m in messages %}{{ m | tojson }}\n{% endfor %}{# " +
      marks + " #}");
}

RequestResult<AnswerSetup> chat(std::string members, std::shared_ptr<const ModelInfo> model = small_model()) {
  if (members.find("\"messages\"") == members.npos) members += R"(,"messages":[{"role":"user","content":"q"}])";
  return prepare_chat("{" + members + "}", std::move(model));
}
std::string prompt_of(const RequestResult<AnswerSetup>& setup) {
  EXPECT_TRUE(setup.has_value()) << setup.error().message;
  if (setup.has_error()) return {};
  return setup->model->tokenizer->decode(setup->prompts.at(0).tokens, {.skip_special = false});
}

TEST(Tools, ATemplateThatKnowsToolsIsTold) {
  const auto setup = chat(std::string(kTools), telling_model("<tool_call>"));
  EXPECT_THAT(prompt_of(setup),
              HasSubstr(R"([{"type": "function", "function": {"name": "get", "description": "looks up", "parameters": )"
                        R"({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}}, )"
                        R"({"type": "function", "function": {"name": "list", "parameters": {"type": "object", )"
                        R"("properties": {}}}}])"));
  ASSERT_NE(setup->params.parts, nullptr);
  EXPECT_EQ(setup->params.parts->calls, call_syntax("hermes"));
  EXPECT_EQ(setup->params.format_parameter, "tools");
}

TEST(Tools, EarlierCallsReachTheTemplateAsObjects) {
  const std::string prompt = prompt_of(chat(
      R"("messages":[{"role":"user","content":"q"},
         {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"get","arguments":"{\"a\": 1}","parsed_arguments":{"a":1}}},
                                                           {"id":"c2","type":"function","function":{"name":"list","arguments":""}}]},
         {"role":"tool","tool_call_id":"c2","content":[{"type":"text","text":"two"}]}])",
      telling_model("<tool_call>")));
  EXPECT_THAT(
      prompt,
      HasSubstr(
          R"("tool_calls": [{"id": "c1", "type": "function", "function": {"name": "get", "arguments": {"a": 1}}}, )"
          R"({"id": "c2", "type": "function", "function": {"name": "list", "arguments": {}}}])"));
  EXPECT_THAT(prompt, HasSubstr(R"({"role": "tool", "content": "two", "tool_call_id": "c2", "name": "list"})"));
}

TEST(Tools, ATemplateThatKnowsNoneIsTakenCareOf) {
  const std::string prompt = prompt_of(
      chat(std::string(kTools) + R"(,"messages":[{"role":"system","content":"be"},{"role":"user","content":"q"},
         {"role":"assistant","content":"so","tool_calls":[{"id":"c1","function":{"name":"get","arguments":"{\"a\":1}"}}]},
         {"role":"tool","tool_call_id":"c1","content":"one"},{"role":"user","content":"r"}])"));
  EXPECT_THAT(prompt, HasSubstr("<|im_start|>system\nbe\n# Tools\n"));
  EXPECT_THAT(prompt, HasSubstr(R"({"name":"list","parameters":{"type":"object","properties":{}}})"));
  EXPECT_THAT(prompt, HasSubstr("<tool_call>\n{\"name\": \"NAME\", \"arguments\": ARGUMENTS}\n</tool_call><|im_end|>"));
  EXPECT_THAT(
      prompt,
      HasSubstr("<|im_start|>assistant\nso\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"a\":1}}\n"
                "</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\none\n</tool_response>\nr<|im_end|>"));
}

TEST(Tools, TheSyntaxIsTheTemplates) {
  const auto name = [](std::string_view source) {
    const CallSyntax* syntax = call_syntax_of(ChatTemplate::parse(source));
    return syntax == nullptr ? "none" : std::string(syntax->name);
  };
  EXPECT_EQ(name("{{ tools }}<tool_call>"), "hermes");
  EXPECT_EQ(name("{{ tools }}<tool_call><function="), "none");
  EXPECT_EQ(name("{{ tools }}[TOOL_CALLS] ["), "mistral");
  EXPECT_EQ(name("{{ tools }}[TOOL_CALLS][ARGS]"), "mistral_args");
  EXPECT_EQ(name("{{ tools }}<|python_tag|>"), "llama3_json");
  EXPECT_EQ(name("{{ tools }}{\"name\": \"parameters\": "), "llama3_json");
  EXPECT_EQ(name("{{ tools }}"), "none");
  EXPECT_EQ(name("{{ messages }}"), "hermes");
}

TEST(Tools, NoneAreToBeCalledWhenTheChoiceSaysSo) {
  const auto setup = chat(std::string(kTools) + R"(,"tool_choice":"none")");
  EXPECT_EQ(prompt_of(setup), prompt_of(chat(R"("tools":[],"tool_choice":"auto")")));
  EXPECT_EQ(setup->params.parts, nullptr);
  EXPECT_FALSE(setup->params.format);
}

/// Whether the grammar of a request takes a text.
bool takes(std::string members, std::string_view text, std::shared_ptr<const ModelInfo> model = small_model()) {
  auto setup = chat(std::string(kTools) + "," + members, model);
  EXPECT_TRUE(setup.has_value()) << setup.error().message;
  const auto error = compile_output_format(setup->params, *model);
  EXPECT_FALSE(error.has_value()) << error->message;
  Matcher matcher(setup->params.grammar);
  for (const char c : text) {
    if (!matcher.advance(static_cast<uint8_t>(c))) return false;
  }
  return matcher.may_end();
}

TEST(Tools, TheChoiceIsEnforced) {
  const std::string get = "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"a\": 1}}\n</tool_call>";
  const std::string list = "<tool_call>\n{\"name\": \"list\", \"arguments\": {}}\n</tool_call>";
  const std::string automatic = R"("tool_choice":"auto")", required = R"("tool_choice":"required")",
                    named = R"("tool_choice":{"type":"function","function":{"name":"list"}})",
                    allowed = R"("tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required",
                                 "tools":[{"type":"function","function":{"name":"list"}}]}})";
  for (const std::string& text : {std::string("text"), "text " + get, get + "\n" + list})
    EXPECT_TRUE(takes(automatic, text)) << text;
  EXPECT_FALSE(takes(automatic, "<tool_call>\n{\"name\": \"get\", \"arguments\": {}}\n</tool_call>"));
  EXPECT_FALSE(takes(automatic, "<tool_call>\n{\"name\": \"list\", \"arguments\": {\"a\": 1}}\n</tool_call>"));
  EXPECT_FALSE(takes(required, "text"));
  EXPECT_TRUE(takes(required, get + "\n" + list));
  EXPECT_FALSE(takes(required + R"(,"parallel_tool_calls":false)", get + "\n" + list));
  EXPECT_TRUE(takes(named, list));
  for (const std::string& text : {get, list + "\n" + list, std::string("text")}) EXPECT_FALSE(takes(named, text));
  EXPECT_TRUE(takes(allowed, list + "\n" + list));
  EXPECT_FALSE(takes(allowed, get));
  const std::string format =
      R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"null"}}})";
  for (const std::string& text : {std::string("null"), get}) EXPECT_TRUE(takes(format, text)) << text;
  EXPECT_FALSE(takes(format, "text"));
  EXPECT_FALSE(takes(format + "," + required, "null"));
  EXPECT_TRUE(takes(required, R"({"name": "get", "parameters": {"a": 1}})", telling_model("<|python_tag|>")));
  EXPECT_TRUE(takes(automatic, R"({"name": "Ann"})", telling_model("<|python_tag|>")));
  EXPECT_TRUE(takes(required,
                    R"([TOOL_CALLS] [{"name": "get", "arguments": {"a": 1}}, {"name": "list", "arguments": {}}])",
                    telling_model("[TOOL_CALLS]")));
}

TEST(Tools, BadOnesAreRefusedByName) {
  const auto param = [](std::string members) {
    const auto setup = chat(std::move(members));
    return setup.has_error() ? setup.error().param : "none";
  };
  const auto tool = [&](std::string function) {
    return param(R"("tools":[{"type":"function","function":)" + function + "}]");
  };
  EXPECT_EQ(param(R"("tools":{})"), "tools");
  EXPECT_EQ(param(R"("tools":[1])"), "tools[0]");
  EXPECT_EQ(param(R"("tools":[{"type":"web_search"}])"), "tools[0].type");
  EXPECT_EQ(param(R"("tools":[{"type":"function"}])"), "tools[0].function");
  EXPECT_EQ(tool("{}"), "tools[0].function.name");
  EXPECT_EQ(tool(R"({"name":"a b"})"), "tools[0].function.name");
  EXPECT_EQ(tool(R"({"name":""})"), "tools[0].function.name");
  EXPECT_EQ(tool(R"({"name":"f","parameters":[]})"), "tools[0].function.parameters");
  EXPECT_EQ(tool(R"({"name":"f","parameters":{"type":"string"}})"), "tools[0].function.parameters");
  EXPECT_EQ(tool(R"({"name":"f","parametres":{}})"), "tools[0].function.parametres");
  EXPECT_EQ(param(R"("tools":[{"function":{"name":"f"}},{"function":{"name":"f"}}])"), "tools[1].function.name");
  EXPECT_EQ(param(R"("tool_choice":"required")"), "tool_choice");
  EXPECT_EQ(param(std::string(kTools) + R"(,"tool_choice":"any")"), "tool_choice");
  EXPECT_EQ(param(std::string(kTools) + R"(,"tool_choice":{"type":"function","function":{"name":"x"}})"),
            "tool_choice.function");
  EXPECT_EQ(param(std::string(kTools) + R"(,"parallel_tool_calls":1)"), "parallel_tool_calls");
  const auto message = [&](std::string members) { return param(R"("messages":[{)" + members + "}]"); };
  EXPECT_EQ(message(R"("role":"tool","content":"a")"), "messages[0].tool_call_id");
  EXPECT_EQ(message(R"("role":"tool","tool_call_id":"a")"), "messages[0].content");
  EXPECT_EQ(message(R"("role":"assistant","tool_calls":[{"id":"a"}])"), "messages[0].tool_calls[0].function");
  EXPECT_EQ(message(R"("role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{"}}])"),
            "messages[0].tool_calls[0].function.arguments");
  EXPECT_EQ(message(R"("role":"user","content":"a","tool_calls":[{}])"), "messages[0].tool_calls");
  std::string many = R"("tools":[)";
  for (size_t i = 0; i <= kMaxTools; ++i)
    many += fmt::format(R"({}{{"function":{{"name":"f{}"}}}})", i == 0 ? "" : ",", i);
  EXPECT_EQ(param(many + "]"), "tools");
  auto off = std::make_shared<ModelInfo>(*small_model());
  off->tool_call_parser = "none";
  EXPECT_EQ(chat(std::string(kTools), off).error().param, "tools");
  EXPECT_EQ(chat(std::string(kTools), telling_model("")).error().param, "tools");
}

TEST(Tools, AStrictSchemaThatCannotBeEnforcedIsRefused) {
  const auto error = [](bool strict) {
    auto setup = chat(fmt::format(
        R"("tools":[{{"function":{{"name":"f","strict":{},"parameters":{{"properties":{{"a":{{"uniqueItems":true}}}}}}}}}}])",
        strict));
    return compile_output_format(setup->params, *small_model());
  };
  EXPECT_FALSE(error(false).has_value());
  ASSERT_TRUE(error(true).has_value());
  EXPECT_EQ(error(true)->param, "tools");
  EXPECT_THAT(error(true)->message, HasSubstr("tools[0].function.parameters"));
}

// --- answers ---

constexpr std::string_view kCallText =
    "I look.\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"a\": 1}}\n</tool_call>\n"
    "<tool_call>\n{\"name\": \"list\", \"arguments\": {}}\n</tool_call>";

/// Tokens of a text, and the end.
std::vector<OutputEvent> events_of(std::string_view text, FinishReason finish = FinishReason::stop) {
  std::vector<OutputEvent> events;
  for (const char c : text) events.emplace_back().tokens.push_back({.token = static_cast<uint8_t>(c)});
  OutputEvent& last = events.emplace_back();
  last.finish = finish;
  if (finish != FinishReason::stop) return events;
  last.tokens.push_back({.token = testing::kEndToken});
  last.stop_token = testing::kEndToken;
  return events;
}

template <typename Kind>
std::string stream_of(RequestResult<AnswerSetup> setup, std::string_view text) {
  setup->id = "resp_12";
  Kind answer(std::move(*setup));
  std::string stream = answer.opening_events();
  for (OutputEvent& event : events_of(text)) stream += answer.add(0, std::move(event)).events;
  EXPECT_TRUE(answer.done());
  return stream + answer.closing_events();
}
template <typename Kind>
json::object body_of(RequestResult<AnswerSetup> setup, std::string_view text,
                     FinishReason finish = FinishReason::stop) {
  setup->id = "resp_12";
  Kind answer(std::move(*setup));
  for (OutputEvent& event : events_of(text, finish)) answer.add(0, std::move(event));
  return answer.body();
}

/// Of a stream of events with names.
std::vector<json::object> events_in(std::string_view stream) {
  std::vector<json::object> events;
  for (size_t at = stream.find("\ndata: "); at != stream.npos; at = stream.find("\ndata: ", at + 1))
    events.push_back(json::parse(stream.substr(at + 7, stream.find("\n\n", at) - at - 7)).as_object());
  return events;
}

TEST(ToolCalls, OfAChat) {
  const json::object body = body_of<Answer>(chat(std::string(kTools)), kCallText);
  const json::value& choice = body.at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason"), "tool_calls");
  EXPECT_EQ(choice.at("message").at("content"), "I look.");
  const json::array& calls = choice.at("message").at("tool_calls").as_array();
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].at("type"), "function");
  EXPECT_EQ(calls[0].at("function"), (json::value{{"name", "get"}, {"arguments", "{\"a\": 1}"}}));
  EXPECT_EQ(calls[1].at("function"), (json::value{{"name", "list"}, {"arguments", "{}"}}));
  EXPECT_TRUE(std::string_view(calls[0].at("id").as_string()).starts_with("call_"));
  EXPECT_NE(calls[0].at("id"), calls[1].at("id"));
  const json::object alone = body_of<Answer>(chat(std::string(kTools)), kCallText.substr(8));
  EXPECT_TRUE(alone.at("choices").at(0).at("message").at("content").is_null());
  const json::object cut = body_of<Answer>(chat(std::string(kTools)), kCallText.substr(0, 60), FinishReason::length);
  EXPECT_EQ(cut.at("choices").at(0).at("finish_reason"), "length");
}

TEST(ToolCalls, OfAChatStreamed) {
  auto data = stream_data(stream_of<Answer>(chat(std::string(kTools) + R"(,"stream":true)"), kCallText));
  data.pop_back();
  std::string content, last_reason;
  std::vector<std::string> names, arguments, ids;
  for (const std::string& one : data) {
    const json::value choice = json::parse(one).at("choices").at(0);
    const json::object& delta = choice.at("delta").as_object();
    if (delta.contains("content")) content += std::string_view(delta.at("content").as_string());
    if (choice.at("finish_reason").is_string()) last_reason = choice.at("finish_reason").as_string();
    if (!delta.contains("tool_calls")) continue;
    for (const json::value& call : delta.at("tool_calls").as_array()) {
      const auto index = call.at("index").to_number<size_t>();
      if (call.as_object().contains("id")) {
        EXPECT_EQ(index, names.size());
        EXPECT_EQ(call.at("type"), "function");
        names.emplace_back(call.at("function").at("name").as_string());
        ids.emplace_back(call.at("id").as_string());
        arguments.emplace_back();
      }
      EXPECT_EQ(index + 1, names.size());
      arguments.back() += std::string_view(call.at("function").at("arguments").as_string());
    }
  }
  EXPECT_EQ(content, "I look.");
  EXPECT_EQ(last_reason, "tool_calls");
  EXPECT_EQ(names, (std::vector<std::string>{"get", "list"}));
  EXPECT_EQ(arguments, (std::vector<std::string>{"{\"a\": 1}", "{}"}));
  EXPECT_GT(data.size(), names.size() + 12) << "arguments are streamed";
}

TEST(ToolCalls, IdsAreAsTheFamilyWants) {
  const json::object body = body_of<Answer>(chat(std::string(kTools), telling_model("[TOOL_CALLS]")),
                                            R"([TOOL_CALLS][{"name": "list", "arguments": {}}])");
  const json::value& call = body.at("choices").at(0).at("message").at("tool_calls").at(0);
  EXPECT_EQ(call.at("id").as_string().size(), 9u);
  EXPECT_EQ(call.at("function").at("name"), "list");
}

constexpr std::string_view kResponsesTools =
    R"("input":"q","tools":[{"type":"function","name":"get","parameters":{"type":"object","properties":{"a":{"type":"integer"}},
       "required":["a"]},"strict":true},{"type":"function","name":"list","parameters":null,"strict":null}])";

RequestResult<AnswerSetup> responses(std::string members) {
  return prepare_responses("{" + members + "}", small_model());
}

TEST(ToolCalls, OfAResponse) {
  const json::object body = body_of<ResponsesAnswer>(responses(std::string(kResponsesTools)), kCallText);
  const json::array& output = body.at("output").as_array();
  ASSERT_EQ(output.size(), 3u);
  EXPECT_EQ(output[0].at("content").at(0).at("text"), "I look.");
  EXPECT_EQ(output[1].at("type"), "function_call");
  EXPECT_EQ(output[1].at("name"), "get");
  EXPECT_EQ(output[1].at("arguments"), "{\"a\": 1}");
  EXPECT_EQ(output[1].at("status"), "completed");
  EXPECT_EQ(output[2].at("id"), "fc_12_1");
  EXPECT_EQ(body.at("tools").as_array().size(), 2u);
}

TEST(ToolCalls, OfAResponseStreamed) {
  const std::string stream =
      stream_of<ResponsesAnswer>(responses(std::string(kResponsesTools) + R"(,"stream":true)"), kCallText);
  std::vector<std::string> types;
  std::string arguments;
  for (const json::object& event : events_in(stream)) {
    const std::string type(event.at("type").as_string());
    if (types.empty() || types.back() != type) types.push_back(type);
    if (type.ends_with("arguments.delta")) arguments += std::string_view(event.at("delta").as_string());
  }
  EXPECT_EQ(arguments, "{\"a\": 1}{}");
  EXPECT_EQ(types,
            (std::vector<std::string>{
                "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
                "response.output_text.delta", "response.output_text.done", "response.content_part.done",
                "response.output_item.done", "response.output_item.added", "response.function_call_arguments.delta",
                "response.function_call_arguments.done", "response.output_item.done", "response.output_item.added",
                "response.function_call_arguments.delta", "response.function_call_arguments.done",
                "response.output_item.done", "response.completed"}));
}

TEST(ToolCalls, ItemsOfAResponseAreOneConversation) {
  const auto setup = responses(R"("input":[{"role":"user","content":"q"},
      {"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]},
      {"type":"function_call","id":"fc_1","call_id":"c1","name":"get","arguments":"{\"a\":1}","status":"completed"},
      {"type":"function_call_output","call_id":"c1","output":"one"}])");
  EXPECT_THAT(prompt_of(setup), HasSubstr("<tool_call>\n{\"name\": \"get\", \"arguments\": {\"a\":1}}\n</tool_call>"));
  EXPECT_THAT(prompt_of(setup), HasSubstr("<|im_start|>user\n<tool_response>\none\n</tool_response><|im_end|>"));
}

constexpr std::string_view kMessagesTools =
    R"("model":"small","max_tokens":500,"tools":[{"name":"get","description":"looks up","input_schema":{"type":"object",
       "properties":{"a":{"type":"integer"}},"required":["a"]}},{"name":"list","input_schema":{"type":"object"}}])";

RequestResult<AnswerSetup> messages(std::string members, std::shared_ptr<const ModelInfo> model = small_model()) {
  if (members.find("\"messages\"") == members.npos) members += R"(,"messages":[{"role":"user","content":"q"}])";
  return prepare_messages("{" + std::string(kMessagesTools) + members + "}", std::move(model));
}

TEST(ToolCalls, OfAMessage) {
  const json::object body = body_of<MessagesAnswer>(messages(""), kCallText);
  EXPECT_EQ(body.at("stop_reason"), "tool_use");
  const json::array& content = body.at("content").as_array();
  ASSERT_EQ(content.size(), 3u);
  EXPECT_EQ(content[0], (json::value{{"type", "text"}, {"text", "I look."}}));
  EXPECT_EQ(content[1].at("type"), "tool_use");
  EXPECT_EQ(content[1].at("input"), (json::value{{"a", 1}}));
  EXPECT_TRUE(std::string_view(content[1].at("id").as_string()).starts_with("toolu_"));
}

TEST(ToolCalls, OfAMessageStreamed) {
  std::vector<std::string> events;
  std::string input;
  for (const json::object& event : events_in(stream_of<MessagesAnswer>(messages(R"(,"stream":true)"), kCallText))) {
    std::string name(event.at("type").as_string());
    if (event.contains("index")) name += std::to_string(event.at("index").as_int64());
    if (events.empty() || events.back() != name) events.push_back(name);
    if (name == "content_block_delta1") input += std::string_view(event.at("delta").at("partial_json").as_string());
    if (name == "content_block_start1") {
      EXPECT_EQ(event.at("content_block").at("name"), "get");
    }
    if (name == "message_delta") {
      EXPECT_EQ(event.at("delta").at("stop_reason"), "tool_use");
    }
  }
  EXPECT_EQ(input, "{\"a\": 1}");
  EXPECT_EQ(events, (std::vector<std::string>{"message_start", "content_block_start0", "content_block_delta0",
                                              "content_block_stop0", "content_block_start1", "content_block_delta1",
                                              "content_block_stop1", "content_block_start2", "content_block_delta2",
                                              "content_block_stop2", "message_delta", "message_stop"}));
}

TEST(ToolCalls, BlocksOfMessagesAreOneConversation) {
  const auto setup = messages(R"(,"messages":[{"role":"user","content":"q"},
      {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":""},{"type":"text","text":"so"},
                                      {"type":"tool_use","id":"t1","name":"get","input":{"a":1}}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"one"},{"type":"text","text":"r"}]}])");
  EXPECT_THAT(prompt_of(setup),
              HasSubstr("assistant\nso\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"a\":1}}\n"));
  EXPECT_THAT(prompt_of(setup), HasSubstr("<|im_start|>user\n<tool_response>\none\n</tool_response>\nr<|im_end|>"));
  const auto param = [](std::string members) {
    const auto bad = messages(std::move(members));
    return bad.has_error() ? bad.error().param : "none";
  };
  EXPECT_EQ(param(R"(,"tool_choice":{"type":"tool","name":"x"})"), "tool_choice.name");
  EXPECT_EQ(param(R"(,"tool_choice":{"type":"some"})"), "tool_choice.type");
  EXPECT_EQ(param(R"(,"messages":[{"role":"user","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]}])"),
            "messages[0].content[0].type");
  EXPECT_EQ(param(R"(,"messages":[{"role":"user","content":[{"type":"tool_result"}]}])"),
            "messages[0].content[0].tool_use_id");
  EXPECT_EQ(param(R"(,"thinking":{"type":"enabled","budget_tokens":1024})"), "thinking");
}

TEST(Reasoning, IsApartFromTheText) {
  const auto model = model_with("{{ messages[0].content }}{# </think> #}");
  const json::object body = body_of<Answer>(chat("\"n\":1", model), "<think>\nhm\n</think>\n\nyes");
  const json::value& message = body.at("choices").at(0).at("message");
  EXPECT_EQ(message.at("content"), "yes");
  EXPECT_EQ(message.at("reasoning_content"), "hm");
  EXPECT_EQ(body.at("usage").at("completion_tokens_details").at("reasoning_tokens"), 12);
  const auto opened = model_with("{{ messages[0].content }}<think>\n{# </think> #}");
  EXPECT_EQ(body_of<Answer>(chat("\"n\":1", opened), "hm</think>yes")
                .at("choices")
                .at(0)
                .at("message")
                .at("reasoning_content"),
            "hm");
  const json::object hidden = body_of<Answer>(chat("\"include_reasoning\":false", opened), "hm</think>yes");
  EXPECT_FALSE(hidden.at("choices").at(0).at("message").as_object().contains("reasoning_content"));
  const json::object response =
      body_of<ResponsesAnswer>(prepare_responses(R"({"input":"q"})", opened), "hm</think>yes");
  EXPECT_EQ(response.at("output").at(0).at("content").at(0), (json::value{{"type", "reasoning_text"}, {"text", "hm"}}));
  EXPECT_EQ(response.at("output").at(1).at("content").at(0).at("text"), "yes");
  const json::object thought =
      body_of<MessagesAnswer>(messages(R"(,"thinking":{"type":"enabled"})", opened), "hm</think>yes");
  EXPECT_EQ(thought.at("content").at(0).at("thinking"), "hm");
  auto off = std::make_shared<ModelInfo>(*opened);
  off->reasoning_parser = "none";
  EXPECT_EQ(body_of<Answer>(chat("\"n\":1", off), "hm</think>yes").at("choices").at(0).at("message").at("content"),
            "hm</think>yes");
}

TEST(Reasoning, EffortReachesTheTemplate) {
  const auto model = model_with("{{ reasoning_effort }} {{ enable_thinking }}");
  EXPECT_EQ(prompt_of(chat(R"("reasoning_effort":"low")", model)), "low ");
  EXPECT_EQ(prompt_of(chat(R"("reasoning_effort":"none")", model)), "none False");
  EXPECT_EQ(chat(R"("reasoning_effort":"much")", model).error().param, "reasoning_effort");
}

}  // namespace
}  // namespace echelon
