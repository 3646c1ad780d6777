// From the engine's events to chunks and bodies: order, roles, stop strings, held-back text, log-probabilities, echo,
// usage. Pure functions, no server.
#include "frontend/openai/answer.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "frontend/metrics/exposition.h"
#include "frontend/metrics/prometheus.h"
#include "frontend/openai/prepare.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/small_model.h"

namespace echelon {
namespace {

namespace json = boost::json;
using testing::small_model;
using testing::stream_data;

AnswerSetup setup_of(RequestResult<AnswerSetup> prepared) {
  EXPECT_TRUE(prepared.has_value()) << prepared.error().message;
  AnswerSetup setup = std::move(*prepared);
  setup.id = "cmpl-1";
  return setup;
}
AnswerSetup completion_setup(std::string_view body) { return setup_of(prepare_completion(body, small_model())); }
AnswerSetup chat_setup(std::string_view members) {
  return setup_of(prepare_chat(fmt::format(R"({{"messages":[{{"role":"user","content":"q"}}],"seed":7{}}})", members),
                               small_model()));
}

OutputEvent tokens_event(std::vector<TokenId> tokens, std::optional<FinishReason> finish = {}, int choice = 0) {
  OutputEvent event;
  event.choice = choice;
  for (const TokenId token : tokens) {
    OutputToken output;
    output.token = token;
    output.logprob = TokenLogprob{.token = token, .logprob = -0.5f, .rank = 1, .top = {{token, -0.5f}, {'!', -2.0f}}};
    event.tokens.push_back(output);
  }
  event.finish = finish;
  if (finish == FinishReason::stop) event.stop_token = tokens.back();
  return event;
}
std::vector<TokenId> letters(std::string_view text) { return {text.begin(), text.end()}; }

/// Every chunk of a stream as JSON; [DONE] must be the last.
std::vector<json::object> chunks_of(Answer& answer, std::vector<OutputEvent> events) {
  std::string text;
  for (auto& event : events) text += answer.add(0, std::move(event)).events;
  EXPECT_TRUE(answer.done());
  text += answer.closing_events();
  auto data = stream_data(text);
  EXPECT_EQ(data.back(), "[DONE]");
  data.pop_back();
  std::vector<json::object> chunks;
  for (const auto& one : data) chunks.push_back(json::parse(one).as_object());
  return chunks;
}
const json::object& choice_of(const json::object& chunk) { return chunk.at("choices").as_array().at(0).as_object(); }
std::string content_of(const json::object& chunk) {
  const auto& delta = choice_of(chunk).at("delta").as_object();
  return delta.contains("content") ? std::string(delta.at("content").as_string()) : std::string();
}

TEST(Answer, AChatStreamHasOneChunkPerTokenTheRoleFirstAndTheReasonLast) {
  Answer answer(chat_setup(R"(,"stream":true,"stream_options":{"include_usage":true})"));
  const auto chunks = chunks_of(answer, {tokens_event(letters("a")), tokens_event(letters("bc")),
                                         tokens_event({'d', testing::kEndToken}, FinishReason::stop)});
  ASSERT_EQ(chunks.size(), 5u);
  EXPECT_EQ(choice_of(chunks[0]).at("delta").at("role"), "assistant");
  std::string text;
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(choice_of(chunks[i]).at("delta").as_object().contains("role"), i == 0);
    EXPECT_EQ(choice_of(chunks[i]).at("finish_reason").is_null(), i != 3);
    EXPECT_TRUE(chunks[i].at("usage").is_null());
    text += content_of(chunks[i]);
  }
  EXPECT_EQ(text, "abcd");
  EXPECT_EQ(choice_of(chunks[3]).at("finish_reason"), "stop");
  EXPECT_EQ(chunks[3].at("seed"), 7);
  EXPECT_TRUE(chunks[4].at("choices").as_array().empty());
  EXPECT_EQ(chunks[4].at("usage").at("completion_tokens"), 5);
  EXPECT_EQ(chunks[4].at("seed"), 7);
  EXPECT_EQ(chunks[4].at("system_fingerprint"), "fp_small");
}

TEST(Answer, AChunkOfTextAloneHasTheBytesThatJsonSerializesTo) {
  for (const char* members : {R"(,"stream":true)", R"(,"stream":true,"stream_options":{"include_usage":true})"}) {
    Answer answer(chat_setup(members));
    std::string text;
    answer.add(0, tokens_event(letters("a")));  // the role
    for (TokenId byte = 0; byte < 128; ++byte) {
      const std::string event = answer.add(0, tokens_event({byte})).events;
      const auto data = stream_data(event);
      ASSERT_EQ(data.size(), 1u);
      EXPECT_EQ(event, server_sent_event(json::parse(data[0]).as_object()));
      text += content_of(json::parse(data[0]).as_object());
    }
    ASSERT_EQ(text.size(), 128u);
    for (size_t i = 0; i < text.size(); ++i) EXPECT_EQ(text[i], static_cast<char>(i));
  }
}

TEST(Answer, TheLastTokenOfALengthStopCarriesTheReason) {
  Answer answer(chat_setup(R"(,"stream":true)"));
  const auto chunks = chunks_of(answer, {tokens_event(letters("a")), tokens_event(letters("b"), FinishReason::length)});
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(content_of(chunks[1]), "b");
  EXPECT_EQ(choice_of(chunks[1]).at("finish_reason"), "length");
}

TEST(Answer, ACharacterOfSeveralTokensIsOneChunkWithAllItsLogprobs) {
  Answer answer(chat_setup(R"(,"stream":true,"logprobs":true,"top_logprobs":1)"));
  const auto chunks = chunks_of(answer, {tokens_event({0xe2}), tokens_event({0x82}), tokens_event({0xac}),
                                         tokens_event({'x', 0xe2}, FinishReason::length)});
  ASSERT_EQ(chunks.size(), 3u);
  EXPECT_EQ(content_of(chunks[0]), "\xe2\x82\xac");
  const auto& first = choice_of(chunks[0]).at("logprobs").at("content").as_array();
  ASSERT_EQ(first.size(), 3u);
  EXPECT_EQ(json::serialize(first[1].at("bytes")), "[130]");
  EXPECT_EQ(first[0].at("top_logprobs").as_array().size(), 1u);
  EXPECT_EQ(content_of(chunks[1]), "x");
  EXPECT_EQ(content_of(chunks[2]), "\xef\xbf\xbd") << "an unfinished character at the end";
  EXPECT_EQ(choice_of(chunks[2]).at("logprobs").at("content").as_array().size(), 1u);
}

TEST(Answer, AStopStringAcrossTokensIsNeverShownAndStopsTheChoice) {
  Answer answer(chat_setup(R"(,"stream":true,"stop":["END"])"));
  std::string text;
  std::vector<int> stopped;
  for (const char letter : std::string("aEbENDcd")) {
    auto effects = answer.add(0, tokens_event({static_cast<TokenId>(letter)}));
    text += effects.events;
    for (const auto& [prompt, choice] : effects.stop_choices) stopped.push_back(choice);
  }
  EXPECT_EQ(stopped, std::vector<int>{0});
  ASSERT_TRUE(answer.done());
  std::string content;
  const auto data = stream_data(text);
  for (const auto& one : data) content += content_of(json::parse(one).as_object());
  EXPECT_EQ(content, "aEb");
  const auto last = json::parse(data.back()).as_object();
  EXPECT_EQ(choice_of(last).at("finish_reason"), "stop");
  EXPECT_EQ(choice_of(last).at("stop_reason"), "END");
}

TEST(Answer, StopStringsWaitForMinTokensAndMayBeIncluded) {
  Answer answer(chat_setup(R"(,"stop":["b"],"min_tokens":3,"include_stop_str_in_output":true)"));
  answer.add(0, tokens_event(letters("abcdbe")));
  ASSERT_TRUE(answer.done());
  const auto body = answer.body();
  EXPECT_EQ(choice_of(body).at("message").at("content"), "abcdb");
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 5);
}

TEST(Answer, AStopTokenOfTheClientIsNamedAndHidden) {
  Answer answer(chat_setup(R"(,"stop_token_ids":[120])"));
  answer.add(0, tokens_event({'a', 'x'}, FinishReason::stop));
  const auto body = answer.body();
  EXPECT_EQ(choice_of(body).at("message").at("content"), "a");
  EXPECT_EQ(choice_of(body).at("stop_reason"), 120);
}

TEST(Answer, ChoicesAreIndependent) {
  Answer answer(completion_setup(R"({"prompt":["x","y"],"n":2,"seed":1,"return_token_ids":true})"));
  EXPECT_TRUE(answer.add(1, tokens_event(letters("d"), FinishReason::length, 1)).events.empty());
  answer.add(1, tokens_event(letters("c"), FinishReason::length, 0));
  answer.add(0, tokens_event(letters("b"), FinishReason::length, 1));
  EXPECT_FALSE(answer.done());
  answer.add(0, tokens_event(letters("a"), FinishReason::length, 0));
  ASSERT_TRUE(answer.done());
  const auto body = answer.body();
  std::string all;
  for (const auto& choice : body.at("choices").as_array()) all += choice.at("text").as_string();
  EXPECT_EQ(all, "abcd");
  EXPECT_EQ(json::serialize(body.at("choices").at(3).at("prompt_token_ids")), "[121]");
  EXPECT_EQ(json::serialize(body.at("choices").at(3).at("token_ids")), "[100]");
  EXPECT_EQ(body.at("usage").at("prompt_tokens"), 2);
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 4);
}

TEST(Answer, EchoRepeatsThePromptWithItsLogprobs) {
  Answer answer(completion_setup(R"({"prompt":"ab","echo":true,"logprobs":1,"seed":1})"));
  OutputEvent event = tokens_event(letters("cd"), FinishReason::length);
  event.prompt_logprobs.push_back({.token = 'b', .logprob = -3.0f, .rank = 4, .top = {{'z', -0.125f}}});
  event.num_cached_tokens = 1;
  answer.add(0, std::move(event));
  const auto body = answer.body();
  EXPECT_EQ(choice_of(body).at("text"), "abcd");
  EXPECT_EQ(json::parse(json::serialize(choice_of(body).at("logprobs"))),
            json::parse(R"({"tokens":["a","b","c","d"],"token_logprobs":[null,-3.0,-0.5,-0.5],
                            "top_logprobs":[null,{"z":-0.125,"b":-3.0},{"c":-0.5},{"d":-0.5}],
                            "text_offset":[0,1,2,3]})"));
  EXPECT_EQ(body.at("usage").at("prompt_tokens_details").at("cached_tokens"), 1);
}

/// lm-eval takes the log-probabilities of a prompt as all but the last entry: the answer's token must always have one.
TEST(Answer, ACompletionsLogprobsHaveAnEntryForTheStopToken) {
  Answer answer(completion_setup(R"({"prompt":"ab","echo":true,"max_tokens":1,"logprobs":1,"seed":1})"));
  OutputEvent event = tokens_event({testing::kEndToken}, FinishReason::stop);
  event.prompt_logprobs.push_back({.token = 'b', .logprob = -3.0f, .rank = 4, .top = {{'z', -0.125f}}});
  answer.add(0, std::move(event));
  const auto body = answer.body();
  EXPECT_EQ(choice_of(body).at("text"), "ab");
  const auto& logprobs = choice_of(body).at("logprobs").as_object();
  EXPECT_EQ(json::serialize(logprobs.at("token_logprobs")), json::serialize(json::array{nullptr, -3.0, -0.5}));
  EXPECT_EQ(json::serialize(logprobs.at("text_offset")), "[0,1,2]");
  for (const auto& [name, list] : logprobs) EXPECT_EQ(list.as_array().size(), 3u) << name;

  Answer chat(chat_setup(R"(,"logprobs":true)"));
  chat.add(0, tokens_event({'a', testing::kEndToken}, FinishReason::stop));
  EXPECT_EQ(choice_of(chat.body()).at("logprobs").at("content").as_array().size(), 1u) << "a chat has its text's alone";
}

TEST(Answer, PromptLogprobsAreThoseOfVllm) {
  const auto event = [] {
    OutputEvent made = tokens_event(letters("c"), FinishReason::length);
    made.prompt_logprobs.push_back({.token = 'b', .logprob = -3.0f, .rank = 4, .top = {{'z', -0.125f}, {'y', -2.0f}}});
    return made;
  };
  const auto expected = json::parse(R"([null,{"98":{"logprob":-3.0,"rank":4,"decoded_token":"b"},
                                              "122":{"logprob":-0.125,"rank":1,"decoded_token":"z"}}])");
  Answer completion(completion_setup(R"({"prompt":"ab","prompt_logprobs":1,"seed":1})"));
  EXPECT_EQ(completion.params().sampling.num_prompt_logprobs, 1);
  completion.add(0, event());
  const auto body = completion.body();
  EXPECT_EQ(json::parse(json::serialize(choice_of(body).at("prompt_logprobs"))), expected);
  EXPECT_TRUE(choice_of(body).at("logprobs").is_null());

  Answer both(completion_setup(R"({"prompt":"ab","prompt_logprobs":1,"echo":true,"logprobs":2,"seed":1})"));
  EXPECT_EQ(both.params().sampling.num_prompt_logprobs, 2) << "the more of both";
  both.add(0, event());
  const auto echoed = both.body();
  EXPECT_EQ(json::parse(json::serialize(choice_of(echoed).at("prompt_logprobs"))), expected);
  EXPECT_EQ(choice_of(echoed).at("logprobs").at("top_logprobs").at(1).as_object().size(), 3u);

  Answer chat(chat_setup(R"(,"prompt_logprobs":0)"));
  chat.add(0, event());
  EXPECT_EQ(chat.body().at("prompt_logprobs").as_array().size(), 2u);
}

TEST(Answer, EchoWithoutTokensShowsOnlyThePrompt) {
  Answer answer(completion_setup(R"({"prompt":"ab","echo":true,"max_tokens":0,"logprobs":0,"seed":1})"));
  OutputEvent event = tokens_event(letters("c"), FinishReason::length);
  event.prompt_logprobs.push_back({.token = 'b', .logprob = -3.0f, .rank = 4, .top = {}});
  answer.add(0, std::move(event));
  const auto body = answer.body();
  EXPECT_EQ(choice_of(body).at("text"), "ab");
  EXPECT_EQ(choice_of(body).at("finish_reason"), "length");
  EXPECT_EQ(choice_of(body).at("logprobs").at("tokens").as_array().size(), 2u);
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 0);
}

TEST(Answer, EchoOfLaterChoicesWaitsForThePromptsLogprobs) {
  Answer answer(completion_setup(R"({"prompt":"ab","echo":true,"logprobs":0,"n":2,"seed":1})"));
  answer.add(0, tokens_event(letters("d"), FinishReason::length, 1));
  OutputEvent event = tokens_event(letters("c"), FinishReason::length, 0);
  event.prompt_logprobs.push_back({.token = 'b', .logprob = -3.0f, .rank = 4, .top = {}});
  answer.add(0, std::move(event));
  ASSERT_TRUE(answer.done());
  const auto body = answer.body();
  EXPECT_EQ(body.at("choices").at(1).at("text"), "abd");
  EXPECT_EQ(body.at("choices").at(1).at("logprobs").at("token_logprobs").at(1), -3.0);
}

TEST(Answer, BestOfReturnsTheLikeliestByTheMeanOfTheirTokens) {
  const auto event = [](std::string_view text, float logprob, int choice) {
    OutputEvent made = tokens_event(letters(text), FinishReason::length, choice);
    for (OutputToken& token : made.tokens) token.logprob->logprob = logprob;
    return made;
  };
  Answer answer(completion_setup(R"({"prompt":["x","y"],"n":2,"best_of":3,"seed":1})"));
  for (size_t prompt = 0; prompt < 2; ++prompt) {
    answer.add(prompt, event("aaaa", -1.0f, 0));  // the largest sum is not the largest mean
    answer.add(prompt, event("b", prompt == 0 ? -2.0f : -0.25f, 1));
    answer.add(prompt, event("cc", -0.75f, 2));
  }
  const auto body = answer.body();
  std::string texts;
  for (const auto& choice : body.at("choices").as_array()) {
    texts += choice.at("text").as_string();
    texts += ' ';
    EXPECT_TRUE(choice.at("logprobs").is_null()) << "they were not asked for";
  }
  EXPECT_EQ(texts, "cc aaaa b cc ");
  EXPECT_EQ(body.at("choices").at(3).at("index"), 3);
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 14) << "all that were made are counted";

  Answer with(completion_setup(R"({"prompt":"x","best_of":2,"logprobs":1,"seed":1})"));
  with.add(0, event("a", -1.0f, 0));
  with.add(0, event("b", -0.5f, 1));
  EXPECT_EQ(with.body().at("choices").as_array().size(), 1u);
}

TEST(Answer, TextOffsetsAreInCharacters) {
  Answer answer(completion_setup(R"({"prompt":"x","logprobs":0,"seed":1})"));
  answer.add(0, tokens_event({0xc3, 0xa9, 'a', 'b'}, FinishReason::length));
  const auto body = answer.body();
  EXPECT_EQ(choice_of(body).at("text"),
            "\xc3\xa9"
            "ab");
  EXPECT_EQ(json::serialize(choice_of(body).at("logprobs").at("text_offset")), "[0,0,1,2]");
}

TEST(Answer, ContinuousUsageIsInEveryChunk) {
  Answer answer(chat_setup(R"(,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true})"));
  const auto chunks = chunks_of(answer, {tokens_event(letters("a")), tokens_event(letters("b"), FinishReason::length)});
  ASSERT_EQ(chunks.size(), 3u);
  EXPECT_EQ(chunks[0].at("usage").at("completion_tokens"), 1);
  EXPECT_EQ(chunks[1].at("usage").at("completion_tokens"), 2);
}

TEST(Answer, ATimeoutIsTheClientsToKnow) {
  Answer answer(completion_setup(R"({"prompt":"q","max_tokens":9,"n":2})"));
  answer.add(0, tokens_event(letters("ab")));
  OutputEvent late{.choice = 1, .tokens = {}, .finish = FinishReason::timeout};
  late.refusal = RequestError{.http_status = 408, .message = "too late", .code = "timeout"};
  answer.add(0, late);
  EXPECT_TRUE(answer.done());
  ASSERT_TRUE(answer.refusal());
  EXPECT_EQ(answer.refusal()->http_status, 408);
  EXPECT_TRUE(answer.add(0, tokens_event(letters("c"))).events.empty());
}

TEST(Answer, InfiniteLogprobsAreFinite) {
  EXPECT_EQ(finite_logprob(-std::numeric_limits<float>::infinity()), -9999.0);
  EXPECT_EQ(finite_logprob(-0.1f), static_cast<double>(-0.1f));
}

TEST(Metrics, TheTextHasFamiliesLabelsAndCumulativeBuckets) {
  EngineMetrics engine;
  engine.num_running = 3;
  engine.prompt_tokens = (uint64_t{1} << 40) + 1;
  engine.finished = {1, 2, 3, 4, 5};
  engine.queue_time = Histogram({0.1, 1});
  engine.queue_time.observe(0.05);
  engine.queue_time.observe(0.5);
  engine.queue_time.observe(5);
  engine.ranks.push_back({.rank = 1, .dp = 0, .pp = 1, .tp = 0, .host = "a\"b", .busy_seconds = 1.5});
  engine.ranks[0].wait.send = 0.25;
  engine.ranks[0].work.operations = {1, 2, 3, 4};
  engine.ranks[0].recent.mfu = 0.5;
  engine.plan_bytes = 77;
  HttpMetrics http;
  http.count_response(404);
  const std::string text = metrics_text(engine, http, "m");
  for (const std::string_view expected :
       {"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name=\"m\"} 3\n",
        "vllm:prompt_tokens_total{model_name=\"m\"} 1099511627777\n",
        "vllm:request_success_total{model_name=\"m\",finished_reason=\"length\"} 2\n",
        "vllm:request_queue_time_seconds_bucket{model_name=\"m\",le=\"0.1\"} 1\n",
        "vllm:request_queue_time_seconds_bucket{model_name=\"m\",le=\"1\"} 2\n",
        "vllm:request_queue_time_seconds_bucket{model_name=\"m\",le=\"+Inf\"} 3\n",
        "vllm:request_queue_time_seconds_sum{model_name=\"m\"} 5.55\n",
        "vllm:request_queue_time_seconds_count{model_name=\"m\"} 3\n",
        "echelon_stage_busy_seconds_total{model_name=\"m\",rank=\"1\",dp=\"0\",pp=\"1\",tp=\"0\",host=\"a\\\"b\"} "
        "1.5\n",
        "dp=\"0\",pp=\"1\",tp=\"0\",host=\"a\\\"b\",cause=\"send\"} 0.25\n",
        "echelon_plan_bytes_total{model_name=\"m\"} 77\n", "host=\"a\\\"b\",kind=\"attention\"} 4\n",
        "echelon_stage_mfu{model_name=\"m\",rank=\"1\",dp=\"0\",pp=\"1\",tp=\"0\",host=\"a\\\"b\"} 0.5\n",
        "echelon_http_responses_total{model_name=\"m\",status=\"4xx\"} 1\n"}) {
    EXPECT_NE(text.find(expected), std::string::npos) << expected;
  }
  // What is not known has no sample.
  for (const std::string_view absent :
       {"\nechelon_stage_mbu{", "\nechelon_stage_bubble_share{", "\nechelon_slowest_rank{",
        "\nechelon_rank_ceiling_bytes_per_second{", "\nechelon_rank_ceiling_operations_per_second{"})
    EXPECT_EQ(text.find(absent), std::string::npos) << absent;
}

}  // namespace
}  // namespace echelon
