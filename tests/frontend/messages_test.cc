// Anthropic's /v1/messages: what becomes of its members, its bodies and events. Pure functions, no server.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "frontend/anthropic/messages_answer.h"
#include "frontend/anthropic/messages_request.h"
#include "tests/frontend/small_model.h"

namespace echelon {
namespace {

namespace json = boost::json;
using testing::small_model;

constexpr std::string_view kHello = R"("model":"small","max_tokens":5,"messages":[{"role":"user","content":"hello"}])";

RequestResult<AnswerSetup> prepare(std::string_view members) {
  return prepare_messages(fmt::format("{{{}}}", members), small_model());
}

std::string prompt_of(std::string_view members) {
  const auto setup = prepare(members);
  EXPECT_TRUE(setup.has_value()) << setup.error().message;
  return setup ? small_model()->tokenizer->decode(setup->prompts.at(0).tokens, {.skip_special = false}) : "";
}

TEST(Messages, BecomeAConversation) {
  EXPECT_EQ(prompt_of(kHello), "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(
      prompt_of(R"("model":"small","max_tokens":5,"system":[{"type":"text","text":"be"},{"type":"text","text":"brief"}],
                         "messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]},
                                     {"role":"user","content":"b"},{"role":"assistant","content":"c"}])"),
      "<|im_start|>system\nbe\nbrief<|im_end|>\n<|im_start|>user\na\nb<|im_end|>\n<|im_start|>assistant\nc")
      << "one role's messages are one, and the assistant's last is continued";
}

TEST(Messages, GoodValuesArrive) {
  const auto setup = prepare(fmt::format(
      R"({},"temperature":0.5,"top_p":0.25,"top_k":3,"stream":true,"stop_sequences":["x"],"metadata":{{"user_id":"me"}},
         "tools":[],"thinking":{{"type":"disabled"}},"tool_choice":{{"type":"none"}},"service_tier":"auto")",
      kHello));
  ASSERT_TRUE(setup.has_value()) << setup.error().message;
  const GenerationParams& params = setup->params;
  EXPECT_EQ(params.sampling.temperature, 0.5f);
  EXPECT_EQ(params.sampling.top_p, 0.25f);
  EXPECT_EQ(params.sampling.top_k, 3);
  EXPECT_EQ(params.sampling.max_tokens, 5);
  EXPECT_EQ(params.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(params.user, "me");
  EXPECT_TRUE(params.stream);
}

TEST(Messages, BadValuesAreRefusedByName) {
  const auto param = [](std::string_view members) {
    const auto setup = prepare(members);
    return setup.has_error() ? setup.error().param : "none";
  };
  const auto with = [&](std::string_view member) { return param(fmt::format("{},{}", kHello, member)); };
  EXPECT_EQ(param(R"("model":"small","messages":[{"role":"user","content":"a"}])"), "max_tokens");
  EXPECT_EQ(param(R"("max_tokens":5,"messages":[{"role":"user","content":"a"}])"), "model");
  EXPECT_EQ(param(R"("model":"other","max_tokens":5,"messages":[{"role":"user","content":"a"}])"), "model");
  EXPECT_EQ(param(R"("model":"small","max_tokens":5,"messages":[])"), "messages");
  EXPECT_EQ(param(R"("model":"small","max_tokens":5,"messages":[{"role":"system","content":"a"}])"),
            "messages[0].role");
  EXPECT_EQ(param(R"("model":"small","max_tokens":5,"messages":[{"role":"user","content":[{"type":"image"}]}])"),
            "messages[0].content[0].type");
  EXPECT_EQ(param(R"("model":"small","max_tokens":5,"messages":[{"role":"user","content":5}])"), "messages[0].content");
  EXPECT_EQ(param(R"("model":"small","max_tokens":5,"messages":[{"role":"user","content":"a","name":"b"}])"),
            "messages[0].name");
  EXPECT_EQ(with(R"("system":5)"), "system");
  EXPECT_EQ(with(R"("temperature":-1)"), "temperature");
  EXPECT_EQ(with(R"("top_k":-1)"), "top_k");
  EXPECT_EQ(with(R"("stop_sequences":"x")"), "stop_sequences");
  EXPECT_EQ(with(R"("stop_sequences":[""])"), "stop_sequences");
  EXPECT_EQ(with(R"("metadata":{"who":"me"})"), "metadata.who");
  EXPECT_EQ(with(R"("tools":[{"name":"f"}])"), "tools[0].input_schema");
  EXPECT_EQ(with(R"("tool_choice":{"type":"any"})"), "tool_choice.type");
  EXPECT_EQ(with(R"("thinking":{"type":"enabled","budget_tokens":1024})"), "thinking");
  EXPECT_EQ(with(R"("anything":1)"), "anything");
}

TEST(Messages, AreCountedAsTheyWouldBeRun) {
  const auto body =
      answer_count_tokens(R"({"model":"small","messages":[{"role":"user","content":"hello"}]})", *small_model());
  ASSERT_TRUE(body.has_value()) << body.error().message;
  EXPECT_EQ(body->at("input_tokens").to_number<size_t>(), prepare(kHello)->prompts.at(0).tokens.size());
  EXPECT_TRUE(answer_count_tokens(R"({"model":"small","messages":[]})", *small_model()).has_error());
}

TEST(Messages, ErrorsHaveAnthropicsTypes) {
  const auto type = [](int status) {
    RequestError error;
    error.http_status = status;
    error.message = "why";
    const json::object body = messages_error_body(error);
    EXPECT_EQ(body.at("type"), "error");
    EXPECT_EQ(body.at("error").at("message"), "why");
    return std::string(body.at("error").at("type").as_string());
  };
  EXPECT_EQ(type(400), "invalid_request_error");
  EXPECT_EQ(type(401), "authentication_error");
  EXPECT_EQ(type(404), "not_found_error");
  EXPECT_EQ(type(413), "request_too_large");
  EXPECT_EQ(type(429), "rate_limit_error");
  EXPECT_EQ(type(500), "api_error");
  EXPECT_EQ(type(503), "overloaded_error");
}

OutputEvent event_of(std::string_view text, std::optional<FinishReason> finish = {}) {
  OutputEvent event;
  for (const char letter : text) event.tokens.emplace_back().token = letter;
  event.finish = finish;
  event.num_cached_tokens = 2;
  return event;
}

MessagesAnswer answer_to(std::string_view members) {
  AnswerSetup setup = std::move(*prepare(fmt::format("{},{}", kHello, members)));
  setup.id = "msg_1";
  return MessagesAnswer(std::move(setup));
}

TEST(Messages, AWholeAnswerIsOneMessage) {
  MessagesAnswer answer = answer_to(R"("stream":false)");
  answer.add(0, event_of("hi", FinishReason::length));
  ASSERT_TRUE(answer.done());
  const json::object body = answer.body();
  const auto prompt = static_cast<int64_t>(answer.setup().prompts.at(0).tokens.size());
  EXPECT_EQ(body.at("id"), "msg_1");
  EXPECT_EQ(body.at("type"), "message");
  EXPECT_EQ(body.at("role"), "assistant");
  EXPECT_EQ(body.at("model"), "small");
  EXPECT_EQ(body.at("content"), json::parse(R"([{"type":"text","text":"hi"}])"));
  EXPECT_EQ(body.at("stop_reason"), "max_tokens");
  EXPECT_TRUE(body.at("stop_sequence").is_null());
  EXPECT_EQ(body.at("usage").at("input_tokens"), prompt - 2) << "those from the cache are counted apart";
  EXPECT_EQ(body.at("usage").at("cache_read_input_tokens"), 2);
  EXPECT_EQ(body.at("usage").at("output_tokens"), 2);
}

TEST(Messages, AStopSequenceIsNamed) {
  MessagesAnswer answer = answer_to(R"("stop_sequences":["lo"])");
  answer.add(0, event_of("hello"));
  ASSERT_TRUE(answer.done());
  const json::object body = answer.body();
  EXPECT_EQ(body.at("content").at(0).at("text"), "hel");
  EXPECT_EQ(body.at("stop_reason"), "stop_sequence");
  EXPECT_EQ(body.at("stop_sequence"), "lo");
}

/// The names of a stream's events; every datum is JSON of that type.
std::vector<std::string> names_of(std::string_view events) {
  std::vector<std::string> names;
  while (!events.empty()) {
    const size_t end = events.find("\n\n");
    const std::string_view one = events.substr(0, end);
    const size_t line = one.find("\ndata: ");
    names.emplace_back(one.substr(7, line - 7));
    EXPECT_EQ(one.substr(0, 7), "event: ");
    EXPECT_EQ(json::parse(one.substr(line + 7)).at("type").as_string(), std::string_view(names.back()));
    events.remove_prefix(end + 2);
  }
  return names;
}

TEST(Messages, AStreamHasAnthropicsEventsInOrder) {
  MessagesAnswer answer = answer_to(R"("stream":true)");
  std::string events = answer.add(0, event_of("h")).events;
  events += answer.add(0, event_of("i", FinishReason::length)).events;
  events += answer.closing_events();
  EXPECT_EQ(names_of(events),
            (std::vector<std::string>{"message_start", "content_block_start", "content_block_delta",
                                      "content_block_delta", "content_block_stop", "message_delta", "message_stop"}));
  EXPECT_NE(events.find(R"("delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"output_tokens":2})"),
            std::string::npos)
      << events;
  EXPECT_EQ(names_of(answer.error_events(RequestError{.http_status = 500})), std::vector<std::string>{"error"});

  MessagesAnswer empty = answer_to(R"("stream":true)");
  OutputEvent end;
  end.tokens.emplace_back().token = testing::kEndToken;
  end.stop_token = testing::kEndToken;
  end.finish = FinishReason::stop;
  events = empty.add(0, std::move(end)).events;
  EXPECT_EQ(names_of(events),
            (std::vector<std::string>{"message_start", "content_block_start", "content_block_stop", "message_delta"}));
  EXPECT_NE(events.find(R"("stop_reason":"end_turn")"), std::string::npos);
}

}  // namespace
}  // namespace echelon
