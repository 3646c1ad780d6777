// Requests and tokens a minute: the buckets on a clock of the test's own, and what a client sees of them.
#include "frontend/access/rate_limits.h"

#include <gtest/gtest.h>

#include "frontend/front_end.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/script_engine.h"

namespace echelon {
namespace {

using namespace std::chrono_literals;
using testing::ask;
using testing::post_text;

class Limits : public ::testing::Test {
 protected:
  std::optional<RequestError> admit(const std::string& key, const KeyLimits& limits) {
    return limits_.admit(key, limits, now_);
  }
  RateLimits limits_;
  RateLimits::Time now_{1000h};
};

TEST_F(Limits, RequestsFillEvenlyUpToAMinutesWorth) {
  const KeyLimits limits{.requests_per_min = 3};
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(admit("a", limits)) << i;
  const auto refused = admit("a", limits);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->http_status, 429);
  EXPECT_EQ(refused->code, "rate_limit_exceeded");
  EXPECT_EQ(refused->type, "requests");
  EXPECT_EQ(refused->retry_after_s, 20);
  EXPECT_FALSE(admit("b", limits)) << "another key's bucket is its own";
  now_ += 15s;
  EXPECT_EQ(admit("a", limits)->retry_after_s, 5);
  now_ += 6s;
  EXPECT_FALSE(admit("a", limits));
  EXPECT_TRUE(admit("a", limits));
  now_ += 24h;
  const auto report = limits_.report("a", now_);
  EXPECT_EQ(report.requests->remaining, 3);
  EXPECT_EQ(report.requests->reset_s, 0);
  EXPECT_FALSE(report.tokens);
}

TEST_F(Limits, TokensMayBeOwedAndArePaidByWaiting) {
  const KeyLimits limits{.tokens_per_min = 60};
  EXPECT_FALSE(admit("a", limits));
  limits_.charge("a", 59, now_);
  EXPECT_FALSE(admit("a", limits)) << "one is left, and what the answer takes is not known yet";
  limits_.charge("a", 100, now_);
  const auto refused = admit("a", limits);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->type, "tokens");
  EXPECT_EQ(refused->retry_after_s, 100);
  EXPECT_EQ(limits_.report("a", now_).tokens->remaining, 0);
  EXPECT_DOUBLE_EQ(limits_.report("a", now_).tokens->reset_s, 159);
  now_ += 101s;
  EXPECT_FALSE(admit("a", limits));
  limits_.charge("nobody", 5, now_);
  EXPECT_FALSE(limits_.report("nobody", now_).tokens);
}

TEST_F(Limits, NewRatesCountAtOnceAndForgetNothing) {
  EXPECT_FALSE(admit("a", {.requests_per_min = 10}));
  EXPECT_FALSE(admit("a", {.requests_per_min = 2}));
  EXPECT_EQ(limits_.report("a", now_).requests->remaining, 1);
  EXPECT_FALSE(admit("a", {.requests_per_min = 100}));
  EXPECT_EQ(limits_.report("a", now_).requests->remaining, 0);
  EXPECT_TRUE(admit("a", {.requests_per_min = 100}));
  EXPECT_FALSE(admit("a", {}));
  EXPECT_FALSE(limits_.report("a", now_).requests);
}

TEST(ResetText, IsOpenAis) {
  EXPECT_EQ(reset_text(0), "0ms");
  EXPECT_EQ(reset_text(0.0205), "21ms");
  EXPECT_EQ(reset_text(0.9999), "1s");
  EXPECT_EQ(reset_text(59.5), "1m0s");
  EXPECT_EQ(reset_text(360), "6m0s");
  EXPECT_EQ(reset_text(7384), "2h3m4s");
}

TEST(RateLimitFields, StandInEveryAnswerOfWhatGenerates) {
  testing::ScriptEngine engine;
  ServerOptions options;
  options.port = 0;
  options.api_keys = {"k", "l"};
  options.limit_requests_per_min = 3;
  options.limit_tokens_per_min = 1000;
  FrontEnd front(options, engine);
  front.start();
  const auto send = [&](const char* path, const char* body, const char* key = "x-api-key: k\r\n") {
    return ask(front.port(), post_text(path, body, key));
  };
  const auto whole = send("/v1/completions", R"({"prompt":[5,6],"max_tokens":8})");
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(whole.field("x-ratelimit-limit-requests"), "3");
  EXPECT_EQ(whole.field("x-ratelimit-remaining-requests"), "2");
  EXPECT_FALSE(whole.field("x-ratelimit-reset-requests").empty());
  EXPECT_EQ(whole.field("x-ratelimit-limit-tokens"), "1000");
  EXPECT_EQ(whole.field("x-ratelimit-remaining-tokens"), "990") << "prompt and answer";
  const auto stream = send("/v1/completions", R"({"prompt":[5,6],"max_tokens":900,"stream":true})");
  EXPECT_EQ(stream.status, 200);
  EXPECT_GT(std::stoi(stream.field("x-ratelimit-remaining-tokens")), 900) << "its answer has only begun";
  ASSERT_TRUE(testing::becomes_true([&] { return front.http_metrics().in_flight.load() == 0; })) << "it is charged";
  const auto bad = send("/v1/chat/completions", "{");
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.field("x-ratelimit-remaining-requests"), "0");
  EXPECT_LT(std::stoi(bad.field("x-ratelimit-remaining-tokens")), 200) << "the stream is charged when it has ended";
  const auto refused = send("/v1/messages", "{}");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.json().at("error").at("type"), "rate_limit_error");
  EXPECT_GT(std::stoi(refused.field("Retry-After")), 1);
  EXPECT_EQ(refused.field("x-ratelimit-remaining-requests"), "0");
  EXPECT_EQ(send("/tokenize", R"({"prompt":"a"})").field("x-ratelimit-limit-requests"), "") << "asks no model";
  EXPECT_EQ(send("/v1/completions", R"({"prompt":"a","max_tokens":1})", "x-api-key: l\r\n").status, 200);
}

}  // namespace
}  // namespace echelon
