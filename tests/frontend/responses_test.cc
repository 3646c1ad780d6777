// OpenAI's /v1/responses: what becomes of its members, its bodies and events. Pure functions, no server.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "frontend/responses/responses_answer.h"
#include "frontend/responses/responses_request.h"
#include "tests/frontend/small_model.h"

namespace echelon {
namespace {

namespace json = boost::json;
using testing::kSmallContext;
using testing::small_model;

RequestResult<AnswerSetup> prepare(std::string_view members) {
  return prepare_responses(fmt::format("{{{}}}", members), small_model());
}
/// Beside an input.
RequestResult<AnswerSetup> prepare_with(std::string_view member) {
  return prepare(fmt::format(R"("input":"hello"{}{})", member.empty() ? "" : ",", member));
}

std::string text_of(const RequestResult<AnswerSetup>& setup) {
  EXPECT_TRUE(setup.has_value()) << setup.error().message;
  return setup ? small_model()->tokenizer->decode(setup->prompts.at(0).tokens, {.skip_special = false}) : "";
}

TEST(Responses, AnInputBecomesAConversation) {
  EXPECT_EQ(text_of(prepare(R"("input":"hello")")), "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(text_of(prepare(R"("instructions":"be brief","input":[
              {"role":"developer","content":"in prose"},
              {"type":"message","role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_text","text":"b"}]},
              {"type":"message","id":"msg_1","status":"completed","role":"assistant","phase":"final_answer",
               "content":[{"type":"output_text","text":"c","annotations":[],"logprobs":[]}]},
              {"role":"user","content":"d"}])")),
            "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>system\nin prose<|im_end|>\n"
            "<|im_start|>user\na\nb<|im_end|>\n<|im_start|>assistant\nc<|im_end|>\n<|im_start|>user\nd<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(Responses, GoodValuesArrive) {
  const auto setup = prepare(
      R"("model":"small","input":"hello","max_output_tokens":5,"temperature":0.5,"top_p":0.25,"stream":true,
         "stream_options":{"include_obfuscation":false},"user":"me","seed":-7,"top_k":3,"min_p":0.125,"stop":["x"],
         "include":["message.output_text.logprobs","reasoning.encrypted_content"],"top_logprobs":2,
         "metadata":{"a":"b"},"text":{"format":{"type":"text"},"verbosity":"medium"},"tools":[],"tool_choice":"auto",
         "store":true,"background":false,"truncation":"disabled","parallel_tool_calls":false,"max_tool_calls":3,
         "reasoning":{"effort":"low","summary":"auto"},"service_tier":"auto","safety_identifier":"s",
         "prompt_cache_key":"k","prompt_cache_retention":"24h","chat_template_kwargs":{"a":1},"priority":2)");
  ASSERT_TRUE(setup.has_value()) << setup.error().message;
  const GenerationParams& params = setup->params;
  EXPECT_EQ(params.sampling.max_tokens, 5);
  EXPECT_EQ(params.sampling.temperature, 0.5f);
  EXPECT_EQ(params.sampling.top_p, 0.25f);
  EXPECT_EQ(params.sampling.top_k, 3);
  EXPECT_EQ(params.sampling.min_p, 0.125f);
  EXPECT_EQ(params.sampling.seed, static_cast<uint64_t>(int64_t{-7}));
  EXPECT_EQ(params.sampling.num_logprobs, 2);
  EXPECT_EQ(params.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(params.user, "me");
  EXPECT_EQ(params.priority, 2);
  EXPECT_TRUE(params.stream);
}

TEST(Responses, NullEqualsAbsent) {
  for (const auto* name : {"model",
                           "instructions",
                           "max_output_tokens",
                           "temperature",
                           "top_p",
                           "stream",
                           "stream_options",
                           "include",
                           "top_logprobs",
                           "user",
                           "metadata",
                           "text",
                           "tools",
                           "tool_choice",
                           "store",
                           "background",
                           "truncation",
                           "parallel_tool_calls",
                           "max_tool_calls",
                           "reasoning",
                           "previous_response_id",
                           "conversation",
                           "prompt",
                           "seed",
                           "max_tokens",
                           "n",
                           "anything_at_all"}) {
    const auto setup = prepare_with(fmt::format(R"("{}":null)", name));
    ASSERT_TRUE(setup.has_value()) << name << ": " << setup.error().message;
    SamplingParams expected;
    expected.seed = setup->params.sampling.seed;
    expected.max_tokens = setup->params.sampling.max_tokens;
    EXPECT_EQ(setup->params.sampling, expected) << name;
    EXPECT_EQ(setup->repeated, prepare_with("")->repeated) << name;
  }
}

struct BadCase {
  std::string_view member;  ///< beside an input, or the input itself
  std::string_view param;   ///< the parameter the error must name
};

constexpr BadCase kBadMembers[] = {
    {R"("previous_response_id":"resp_1")", "previous_response_id"},
    {R"("conversation":{"id":"conv_1"})", "conversation"},
    {R"("background":true)", "background"},
    {R"("prompt":{"id":"pmpt_1"})", "prompt"},
    {R"("tools":[{"type":"function"}])", "tools[0].name"},
    {R"("tools":[{"type":"file_search"}])", "tools[0].type"},
    {R"("tools":{})", "tools"},
    {R"("tool_choice":"required")", "tool_choice"},
    {R"("tool_choice":{"type":"function","name":"f"})", "tool_choice"},
    {R"("text":"plain")", "text"},
    {R"("text":{"format":{"type":"yaml"}})", "text.format.type"},
    {R"("text":{"format":{"type":"json_schema","name":"a"}})", "text.format.schema"},
    {R"("text":{"format":{"type":"json_schema","schema":{}}})", "text.format.name"},
    {R"("text":{"format":"text"})", "text.format"},
    {R"("text":{"verbosity":"low"})", "text.verbosity"},
    {R"("text":{"colour":"red"})", "text.colour"},
    {R"("include":"message.output_text.logprobs")", "include"},
    {R"("include":["message"])", "include"},
    {R"("include":[5])", "include"},
    {R"("top_logprobs":2)", "top_logprobs"},
    {R"("include":["message.output_text.logprobs"],"top_logprobs":21)", "top_logprobs"},
    {R"("truncation":"sometimes")", "truncation"},
    {R"("reasoning":"low")", "reasoning"},
    {R"("reasoning":{"effort":5})", "reasoning.effort"},
    {R"("reasoning":{"mode":"pro"})", "reasoning.mode"},
    {R"("metadata":{"a":5})", "metadata"},
    {R"("metadata":["a"])", "metadata"},
    {R"("prompt_cache_key":5)", "prompt_cache_key"},
    {R"("safety_identifier":{})", "safety_identifier"},
    {R"("parallel_tool_calls":"yes")", "parallel_tool_calls"},
    {R"("max_tool_calls":0)", "max_tool_calls"},
    {R"("instructions":["be brief"])", "instructions"},
    {R"("max_output_tokens":0)", "max_output_tokens"},
    {R"("max_output_tokens":5000)", "max_output_tokens"},
    {R"("max_output_tokens":2,"min_tokens":3)", "min_tokens"},
    {R"("max_tokens":5)", "max_tokens"},
    {R"("max_completion_tokens":5)", "max_completion_tokens"},
    {R"("n":1)", "n"},
    {R"("prompt_logprobs":1)", "prompt_logprobs"},
    {R"("return_token_ids":true)", "return_token_ids"},
    {R"("stream":true,"stream_options":{"include_usage":true})", "stream_options"},
    {R"("temperature":-1)", "temperature"},
    {R"("logprobs":true)", "logprobs"},
    {R"("response_format":{"type":"text"})", "response_format"},
    {R"("messages":[])", "messages"},
    {R"("anything":1)", "anything"},
};

constexpr BadCase kBadInputs[] = {
    {R"("model":"small")", "input"},
    {R"("input":null)", "input"},
    {R"("input":5)", "input"},
    {R"("input":[])", "input"},
    {R"("input":["hello"])", "input[0]"},
    {R"("input":[{"content":"a"}])", "input[0].role"},
    {R"("input":[{"role":"tool","content":"a"}])", "input[0].role"},
    {R"("input":[{"role":"user"}])", "input[0].content"},
    {R"("input":[{"role":"user","content":"a","name":"b"}])", "input[0].name"},
    {R"("input":[{"role":"user","content":[{"type":"input_image","image_url":"x"}]}])", "input[0].content[0]"},
    {R"("input":[{"role":"user","content":[{"type":"input_file","file_id":"x"}]}])", "input[0].content[0]"},
    {R"("input":[{"role":"user","content":[{"type":"text","text":"x"}]}])", "input[0].content[0]"},
    {R"("input":[{"role":"user","content":"a"},{"type":"function_call","name":"f"}])", "input[1].call_id"},
    {R"("input":[{"role":"user","content":"a"},{"type":"file_search_call"}])", "input[1].type"},
    {R"("input":[{"type":"item_reference","id":"msg_1"}])", "input[0].type"},
};

TEST(Responses, WhatIsNotServedIsRefusedByName) {
  const auto expect_refused = [](const RequestResult<AnswerSetup>& setup, const BadCase& bad) {
    ASSERT_TRUE(setup.has_error()) << bad.member;
    EXPECT_EQ(setup.error().http_status, 400) << bad.member;
    EXPECT_EQ(setup.error().param, bad.param) << bad.member << ": " << setup.error().message;
    EXPECT_FALSE(setup.error().message.empty()) << bad.member;
  };
  for (const BadCase& bad : kBadMembers) expect_refused(prepare_with(bad.member), bad);
  for (const BadCase& bad : kBadInputs) expect_refused(prepare(bad.member), bad);
  EXPECT_EQ(prepare_with(R"("model":"other")").error().http_status, 404);
}

TEST(Responses, ALongInputIsCutOnlyWhenTheClientSaysSo) {
  const auto sized = [](std::string_view members) {
    return prepare(fmt::format(R"("input":"{}"{})", std::string(kSmallContext, 'x'), members));
  };
  const auto refused = sized("");
  ASSERT_TRUE(refused.has_error());
  EXPECT_EQ(refused.error().code, "context_length_exceeded");
  EXPECT_EQ(refused.error().param, "input");
  const auto num_tokens = [&](std::string_view members) {
    const auto setup = sized(members);
    EXPECT_TRUE(setup.has_value()) << setup.error().message;
    return setup ? setup->prompts.at(0).tokens.size() : 0;
  };
  EXPECT_EQ(num_tokens(R"(,"truncation":"auto","max_output_tokens":7)"), size_t{kSmallContext - 7});
  EXPECT_EQ(num_tokens(R"(,"truncation":"auto")"), size_t{kSmallContext - kSmallContext / 4});
  EXPECT_EQ(num_tokens(R"(,"truncation":"auto","truncate_prompt_tokens":9)"), 9u);
}

OutputEvent event_of(std::string_view text, std::optional<FinishReason> finish = {}) {
  OutputEvent event;
  for (const char letter : text) {
    OutputToken& output = event.tokens.emplace_back();
    output.token = letter;
    output.logprob = TokenLogprob{.token = letter, .logprob = -0.5f, .rank = 1, .top = {{letter, -0.5f}, {'!', -2.0f}}};
  }
  event.finish = finish;
  event.num_cached_tokens = 2;
  return event;
}

OutputEvent end_event() {
  OutputEvent event;
  event.tokens.emplace_back().token = testing::kEndToken;
  event.stop_token = testing::kEndToken;
  event.finish = FinishReason::stop;
  return event;
}

ResponsesAnswer answer_to(std::string_view members) {
  AnswerSetup setup = std::move(*prepare_with(members));
  setup.id = "resp_1";
  setup.created_unix_s = 1800000000;
  return ResponsesAnswer(std::move(setup));
}

TEST(Responses, AWholeAnswerIsOneResponse) {
  ResponsesAnswer answer = answer_to(R"("seed":7,"max_output_tokens":5,"temperature":0.7)");
  answer.add(0, event_of("hi"));
  answer.add(0, end_event());
  ASSERT_TRUE(answer.done());
  const json::object body = answer.body();
  const auto prompt = static_cast<int64_t>(answer.setup().prompts.at(0).tokens.size());
  const json::value expected = json::parse(fmt::format(
      R"({{"id":"resp_1","object":"response","created_at":1800000000,"status":"completed","error":null,
           "incomplete_details":null,"model":"small",
           "output":[{{"id":"msg_1","type":"message","status":"completed","role":"assistant",
                       "content":[{{"type":"output_text","text":"hi","annotations":[],"logprobs":[]}}]}}],
           "usage":{{"input_tokens":{},"input_tokens_details":{{"cached_tokens":2,"cache_write_tokens":0}},
                     "output_tokens":3,"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":{}}},
           "seed":7,"instructions":null,"max_output_tokens":5,"max_tool_calls":null,"metadata":{{}},
           "parallel_tool_calls":true,"prompt_cache_key":null,"reasoning":{{"effort":null,"summary":null}},
           "safety_identifier":null,"temperature":0.7,"text":{{"format":{{"type":"text"}}}},"tool_choice":"auto",
           "tools":[],"top_logprobs":0,"top_p":1E0,"truncation":"disabled","user":null,"background":false,
           "previous_response_id":null,"service_tier":"default","store":false}})",
      prompt, prompt + 3));
  EXPECT_EQ(json::value(body), expected) << json::serialize(body);
}

TEST(Responses, TheRequestsMembersAreRepeated) {
  constexpr std::string_view kMembers =
      R"({"instructions":"be brief","metadata":{"a":"b"},"user":"me","reasoning":{"effort":"low"},"truncation":"auto",
          "tool_choice":"none","parallel_tool_calls":false,"top_p":0.25,"prompt_cache_key":"k","safety_identifier":"s"})";
  const json::object members = json::parse(kMembers).as_object();
  ResponsesAnswer answer = answer_to(fmt::format(R"({},"store":true)", kMembers.substr(1, kMembers.size() - 2)));
  answer.add(0, end_event());
  const json::object body = answer.body();
  for (const auto& member : members) EXPECT_EQ(body.at(member.key()), member.value()) << member.key();
  EXPECT_EQ(body.at("store"), false) << "nothing is";
}

TEST(Responses, WhatTheLimitCutIsIncomplete) {
  ResponsesAnswer answer = answer_to("");
  answer.add(0, event_of("hi", FinishReason::length));
  const json::object body = answer.body();
  EXPECT_EQ(body.at("status"), "incomplete");
  EXPECT_EQ(body.at("incomplete_details").at("reason"), "max_output_tokens");
  EXPECT_EQ(body.at("output").at(0).at("status"), "incomplete");
}

TEST(Responses, LogprobsComeWhereTheyAreIncluded) {
  ResponsesAnswer answer = answer_to(R"("include":["message.output_text.logprobs"],"top_logprobs":1)");
  answer.add(0, event_of("hi", FinishReason::length));
  const auto logprobs = answer.body().at("output").at(0).at("content").at(0).at("logprobs");
  EXPECT_EQ(
      json::serialize(logprobs.at(0)),
      R"({"token":"h","logprob":-5E-1,"bytes":[104],"top_logprobs":[{"token":"h","logprob":-5E-1,"bytes":[104]}]})");
  EXPECT_EQ(logprobs.as_array().size(), 2u);
}

/// A stream's events; each has the name of its type, and they are numbered.
std::vector<json::object> parsed(std::string_view events) {
  std::vector<json::object> all;
  while (!events.empty()) {
    const size_t end = events.find("\n\n");
    const std::string_view one = events.substr(0, end);
    const size_t line = one.find("\ndata: ");
    all.push_back(json::parse(one.substr(line + 7)).as_object());
    EXPECT_EQ("event: " + std::string(all.back().at("type").as_string()), one.substr(0, line));
    EXPECT_EQ(all.back().at("sequence_number").to_number<size_t>(), all.size() - 1);
    events.remove_prefix(end + 2);
  }
  return all;
}

std::vector<std::string> types_of(const std::vector<json::object>& events) {
  std::vector<std::string> types;
  for (const auto& event : events) types.emplace_back(event.at("type").as_string());
  return types;
}

TEST(Responses, AStreamHasOpenAisEventsInOrder) {
  constexpr std::string_view kMembers =
      R"("stream":true,"seed":7,"include":["message.output_text.logprobs"],"top_logprobs":1)";
  ResponsesAnswer answer = answer_to(kMembers),
                  whole = answer_to(R"("seed":7,"include":["message.output_text.logprobs"],"top_logprobs":1)");
  std::string text = answer.opening_events();
  for (ResponsesAnswer* each : {&answer, &whole}) {
    text += each->add(0, event_of("h")).events;
    text += each->add(0, event_of("i", FinishReason::length)).events;
  }
  text += answer.closing_events();
  const auto events = parsed(text);
  ASSERT_EQ(types_of(events),
            (std::vector<std::string>{
                "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
                "response.output_text.delta", "response.output_text.delta", "response.output_text.done",
                "response.content_part.done", "response.output_item.done", "response.incomplete"}));
  EXPECT_EQ(events[0].at("response").at("status"), "in_progress");
  EXPECT_TRUE(events[0].at("response").at("usage").is_null());
  EXPECT_TRUE(events[1].at("response").at("output").as_array().empty());
  EXPECT_TRUE(events[2].at("item").at("content").as_array().empty());
  EXPECT_EQ(events[3].at("part").at("text"), "");
  for (size_t i = 3; i < 8; ++i) {
    EXPECT_EQ(events[i].at("item_id"), "msg_1");
    EXPECT_EQ(events[i].at("output_index"), 0);
    EXPECT_EQ(events[i].at("content_index"), 0);
  }
  EXPECT_EQ(events[4].at("delta"), "h");
  EXPECT_EQ(events[5].at("delta"), "i");
  EXPECT_EQ(events[5].at("logprobs").at(0).at("token"), "i");
  EXPECT_EQ(events[6].at("text"), "hi");
  const json::object body = whole.body();
  EXPECT_EQ(events[6].at("logprobs"), body.at("output").at(0).at("content").at(0).at("logprobs"));
  EXPECT_EQ(events[7].at("part"), body.at("output").at(0).at("content").at(0));
  EXPECT_EQ(events[8].at("item"), body.at("output").at(0));
  EXPECT_EQ(events[9].at("response"), json::value(body)) << "the end of a stream is the whole answer";
}

TEST(Responses, AStreamWithoutTextHasAnEmptyMessage) {
  ResponsesAnswer answer = answer_to(R"("stream":true)");
  std::string text = answer.opening_events();
  text += answer.add(0, end_event()).events;
  text += answer.closing_events();
  const auto events = parsed(text);
  EXPECT_EQ(types_of(events), (std::vector<std::string>{"response.created", "response.in_progress",
                                                        "response.output_item.added", "response.content_part.added",
                                                        "response.output_text.done", "response.content_part.done",
                                                        "response.output_item.done", "response.completed"}));
  EXPECT_EQ(events.back().at("response").at("output").at(0).at("content").at(0).at("text"), "");
}

TEST(Responses, AFailureEndsTheStream) {
  const auto last_of = [](std::string_view before, int http_status) {
    ResponsesAnswer answer = answer_to(R"("stream":true)");
    std::string text = answer.opening_events();
    if (!before.empty()) text += answer.add(0, event_of(before)).events;
    text += answer.error_events(RequestError{.http_status = http_status, .message = "why"});
    const auto events = parsed(text);
    EXPECT_EQ(events.back().at("type"), "response.failed");
    EXPECT_EQ(events.back().at("response").at("status"), "failed");
    return events.back().at("response").as_object();
  };
  const json::object begun = last_of("hi", 500);
  EXPECT_EQ(json::serialize(begun.at("error")), R"({"code":"server_error","message":"why"})");
  EXPECT_EQ(begun.at("output").at(0).at("status"), "incomplete");
  EXPECT_EQ(begun.at("output").at(0).at("content").at(0).at("text"), "hi");
  const json::object queued = last_of("", 429);
  EXPECT_EQ(queued.at("error").at("code"), "rate_limit_exceeded");
  EXPECT_TRUE(queued.at("output").as_array().empty());
}

}  // namespace
}  // namespace echelon
