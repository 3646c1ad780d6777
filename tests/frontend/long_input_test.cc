// Prompts that the context has no room for, through the real server with a scripted engine whose context has 64 tokens.
#include "frontend/openai/long_input.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "frontend/front_end.h"
#include "frontend/openai/prepare.h"
#include "tests/frontend/front_end_test.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/script_engine.h"

namespace echelon {
namespace {

namespace json = boost::json;
using testing::ask;
using testing::post_text;
using testing::scripted_text;
using testing::stream_data;

constexpr int kContext = 64;

std::shared_ptr<const ModelInfo> narrow_model() {
  auto model = std::make_shared<ModelInfo>(*testing::small_model());
  model->max_model_len = kContext;
  return model;
}

std::vector<TokenId> ids_of(int count) {
  std::vector<TokenId> ids;
  for (int i = 0; i < count; ++i) ids.push_back(static_cast<TokenId>('a' + i * 7 % 26));
  return ids;
}

class LongInputs : public testing::FrontEndTest {
 protected:
  LongInputs() : FrontEndTest(narrow_model()) {}
  void SetUp() override { start(); }
  testing::ClientResponse complete(const std::vector<TokenId>& prompt, const json::object& more) {
    json::object body{{"prompt", json::array(prompt.begin(), prompt.end())}};
    for (const auto& member : more) body[member.key()] = member.value();
    return ask(port_, post_text("/v1/completions", json::serialize(body)));
  }
  static std::string text_of(const testing::ClientResponse& response) {
    EXPECT_EQ(response.status, 200) << response.body;
    return std::string(response.json().at("choices").at(0).at("text").as_string());
  }
};

TEST_F(LongInputs, AreRefusedWithBothLengthsUnlessTheRequestSaysMore) {
  for (const json::object& more : {json::object{{"max_tokens", 4}}, {{"max_tokens", 4}, {"long_input", "error"}}}) {
    const auto refused = complete(ids_of(150), more);
    EXPECT_EQ(refused.status, 400);
    EXPECT_NE(refused.body.find("64 tokens"), std::string::npos) << refused.body;
    EXPECT_NE(refused.body.find("150"), std::string::npos) << refused.body;
  }
  EXPECT_EQ(engine_.num_submitted, 0);
}

TEST_F(LongInputs, TruncateKeepsTheEndAndRoomForTheAnswer) {
  const auto ids = ids_of(150);
  const std::vector<TokenId> kept(ids.end() - 60, ids.end());
  EXPECT_EQ(text_of(complete(ids, {{"max_tokens", 4}, {"long_input", "truncate"}})), scripted_text(kept, 0, 4));
  const auto short_ids = ids_of(60);
  EXPECT_EQ(text_of(complete(short_ids, {{"max_tokens", 4}, {"long_input", "truncate"}})),
            scripted_text(short_ids, 0, 4));
}

TEST_F(LongInputs, SplitAnswersEveryPartAndJoinsTheAnswers) {
  const auto ids = ids_of(150);
  std::string expected;
  for (int part = 0; part < 3; ++part) {
    const std::vector<TokenId> tokens(ids.begin() + 50 * part, ids.begin() + 50 * (part + 1));
    expected += (part > 0 ? "\n" : "") + scripted_text(tokens, 0, 4);
  }
  const json::object more{{"max_tokens", 4}, {"long_input", "split"}};
  const auto whole = complete(ids, more);
  EXPECT_EQ(text_of(whole), expected);
  EXPECT_EQ(whole.json().at("choices").as_array().size(), 1u);
  EXPECT_EQ(whole.json().at("usage").at("prompt_tokens"), 150);
  EXPECT_EQ(whole.json().at("usage").at("completion_tokens"), 12);

  json::object streamed = more;
  streamed["stream"] = true;
  std::string text;
  int num_finished = 0;
  auto data = stream_data(complete(ids, streamed).body);
  ASSERT_EQ(data.back(), "[DONE]");
  data.pop_back();
  for (const auto& event : data) {
    const auto choice = json::parse(event).at("choices").at(0);
    text += choice.at("text").as_string();
    num_finished += choice.at("finish_reason").is_null() ? 0 : 1;
  }
  EXPECT_EQ(text, expected);
  EXPECT_EQ(num_finished, 1);
}

TEST_F(LongInputs, SplitKeepsPromptsAndChoicesApart) {
  const auto long_ids = ids_of(100), short_ids = ids_of(5);
  json::array prompts;
  for (const auto* ids : {&short_ids, &long_ids, &short_ids}) prompts.push_back(json::array(ids->begin(), ids->end()));
  const json::object body{{"prompt", prompts}, {"max_tokens", 4}, {"n", 2}, {"long_input", "split"}};
  const auto answer = ask(port_, post_text("/v1/completions", json::serialize(body)));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const std::vector<TokenId> first(long_ids.begin(), long_ids.begin() + 50),
      second(long_ids.begin() + 50, long_ids.end());
  const auto choices = answer.json().at("choices").as_array();
  ASSERT_EQ(choices.size(), 6u);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(choices[static_cast<size_t>(i)].at("text"), testing::scripted_json(short_ids, i, 4));
    EXPECT_EQ(choices[static_cast<size_t>(2 + i)].at("text"),
              json::value(scripted_text(first, i, 4) + "\n" + scripted_text(second, i, 4)));
    EXPECT_EQ(choices[static_cast<size_t>(4 + i)].at("text"), testing::scripted_json(short_ids, i, 4));
  }
}

TEST(LongInput, AConversationIsSplitInItsLongestMessage) {
  std::string text;
  for (int i = 0; i < 120; ++i) text += fmt::format("word{} {}", i, i % 10 == 9 ? "\n" : "");
  const json::object body{{"messages", json::array{json::object{{"role", "system"}, {"content", "Be short."}},
                                                   json::object{{"role", "user"}, {"content", text}}}},
                          {"max_tokens", 8},
                          {"long_input", "split"}};
  auto model = std::make_shared<ModelInfo>(*testing::small_model());
  model->max_model_len = 256;
  const auto setup = prepare_chat(json::serialize(body), model);
  ASSERT_TRUE(setup.has_value()) << setup.error().message;
  ASSERT_GT(setup->prompts.size(), 2u);
  std::string joined;
  for (const AnswerPrompt& prompt : setup->prompts) {
    EXPECT_LE(prompt.tokens.size(), 248u);
    const std::string rendered = model->tokenizer->decode(prompt.tokens, {.skip_special = false});
    EXPECT_NE(rendered.find("Be short."), std::string::npos);
    const std::string begin = "<|im_start|>user\n";
    const size_t at = rendered.find(begin) + begin.size();
    joined += rendered.substr(at, rendered.find("<|im_end|>", at) - at);
  }
  EXPECT_EQ(joined, text);
  EXPECT_EQ(setup->whole_of, std::vector<size_t>(setup->prompts.size(), 0));
}

TEST(LongInput, PartsEndBetweenCharacters) {
  Conversation conversation;
  std::string text;
  for (int i = 0; i < 100; ++i) text += "\xf0\x9d\x95\x8b";
  conversation.messages.push_back(json::object{{"role", "user"}, {"content", text}});
  const auto tokens_of = [](const Conversation& part) -> RequestResult<std::vector<TokenId>> {
    const std::string_view content(part.messages.at(0).at("content").as_string());
    EXPECT_TRUE(is_valid_utf8(content));
    return std::vector<TokenId>(content.begin(), content.end());
  };
  const auto parts = split_conversation(conversation, 30, tokens_of);
  ASSERT_TRUE(parts.has_value());
  size_t total = 0;
  for (const AnswerPrompt& part : *parts) total += part.tokens.size();
  EXPECT_EQ(total, text.size());
  EXPECT_TRUE(split_conversation(conversation, 1, tokens_of).has_error()) << "a character has four bytes";
}

/// What the windows say, one after the other.
std::string slid(const std::vector<TokenId>& prompt, int max_tokens) {
  std::vector<TokenId> window(prompt.end() - 48, prompt.end());
  std::string text;
  while (max_tokens > 0) {
    const int count = std::min(max_tokens, kContext - static_cast<int>(window.size()));
    const std::string next = scripted_text(window, 0, count);
    text += next;
    window.insert(window.end(), next.begin(), next.end());
    window.erase(window.begin(), window.end() - kContext / 2);
    max_tokens -= count;
  }
  return text;
}

TEST_F(LongInputs, SlidingGoesOnWhenTheContextIsFull) {
  const auto ids = ids_of(100);
  const auto answer = complete(ids, {{"max_tokens", 100}, {"long_input", "sliding"}, {"min_tokens", 90}});
  EXPECT_EQ(text_of(answer), slid(ids, 100));
  EXPECT_EQ(answer.json().at("usage").at("completion_tokens"), 100);
  EXPECT_EQ(answer.json().at("choices").at(0).at("finish_reason"), "length");
  EXPECT_EQ(engine_.num_submitted, 4) << "16, 32, 32 and 20 tokens";
  EXPECT_EQ(engine_.last_request().sampling.min_tokens, 10);
  EXPECT_EQ(engine_.last_request().sampling.max_tokens, 20);
}

TEST_F(LongInputs, AStopStringEndsTheWindowItIsFoundIn) {
  const auto ids = ids_of(100);
  const std::string text = slid(ids, 100);
  const std::string stop = text.substr(40, 5);
  engine_.token_delay_us = 200;
  const auto answer = complete(ids, {{"max_tokens", 100}, {"long_input", "sliding"}, {"stop", stop}});
  EXPECT_EQ(text_of(answer), text.substr(0, text.find(stop)));
  EXPECT_EQ(answer.json().at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_TRUE(testing::becomes_true([&] { return engine_.num_running() == 0; }));
  EXPECT_EQ(engine_.num_choices_stopped, 1);
}

TEST_F(LongInputs, AWindowThatTheEngineDoesNotTakeEndsTheAnswer) {
  engine_.token_delay_us = 500;
  std::optional<testing::ClientResponse> answer;
  std::thread client([&] { answer = complete(ids_of(100), {{"max_tokens", 100}, {"long_input", "sliding"}}); });
  EXPECT_TRUE(testing::becomes_true([&] { return engine_.num_submitted > 0; }));
  engine_.max_requests = 0;
  client.join();
  EXPECT_EQ(answer->status, 429);
}

TEST_F(LongInputs, WhatDoesNotGoTogetherIsRefusedByName) {
  const auto param = [&](json::object more) {
    more["max_tokens"] = 4;
    const auto refused = complete(ids_of(150), more);
    EXPECT_EQ(refused.status, 400) << refused.body;
    return std::string(refused.json().at("error").at("param").as_string());
  };
  EXPECT_EQ(param({{"long_input", "shorten"}}), "long_input");
  EXPECT_EQ(param({{"long_input", "truncate"}, {"truncate_prompt_tokens", 5}}), "long_input");
  EXPECT_EQ(param({{"long_input", "split"}, {"logprobs", 1}}), "logprobs");
  EXPECT_EQ(param({{"long_input", "split"}, {"echo", true}}), "echo");
  EXPECT_EQ(param({{"long_input", "split"}, {"guided_regex", "a+"}}), "guided_regex");
  EXPECT_EQ(param({{"long_input", "sliding"}, {"guided_regex", "a+"}}), "guided_regex");
  EXPECT_EQ(param({{"long_input", "sliding"}, {"presence_penalty", 1}}), "long_input");
  EXPECT_EQ(param({{"long_input", "split"}, {"n", 16}, {"prompt", json::array(512, 5)}}), "long_input");
  EXPECT_EQ(engine_.num_submitted, 0);
}

}  // namespace
}  // namespace echelon
