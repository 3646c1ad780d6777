// The whole engine with ranks as threads of one process: the real scheduler, control messages, communicators and model.
// What must hold on any layout: the same tokens and log-probabilities, nothing held in the end, clear refusals.
#include "tests/engine/local_cluster.h"

#include <gtest/gtest.h>

#include "engine/grammar/grammar.h"
#include "engine/text/tokenizer.h"

namespace echelon {
namespace {

std::vector<Request> mixed_requests() {
  std::vector<Request> requests;
  requests.push_back(request_of(prompt_of(5), 6));
  requests.push_back(request_of(prompt_of(130), 6, 0.9f));
  requests.push_back(request_of(prompt_of(130), 4));
  requests.back().sampling.num_prompt_logprobs = 1;
  requests.push_back(request_of(prompt_of(40, 1), 5, 1.0f));
  requests.back().num_choices = 2;
  requests.push_back(request_of(prompt_of(33, 2), 5, 0.7f));
  requests.back().sampling.repetition_penalty = 1.3f;
  requests.back().sampling.top_p = 0.8f;
  return requests;
}

TEST(LocalCluster, SameBitsOnEveryLayout) {
  std::vector<std::vector<std::pair<TokenId, float>>> expected;
  for (const LayoutSizes sizes : {LayoutSizes{}, LayoutSizes{.pp = 2}, LayoutSizes{.tp = 2}, LayoutSizes{.tp = 3},
                                  LayoutSizes{.dp = 2, .tp = 1, .pp = 1}, LayoutSizes{.tp = 2, .pp = 2}}) {
    LocalCluster cluster(small_options(), sizes);
    cluster.wait_until_ready();
    std::vector<std::shared_ptr<Collector>> collectors;
    for (Request& request : mixed_requests()) collectors.push_back(cluster.submit(std::move(request)));
    for (size_t i = 0; i < collectors.size(); ++i) {
      collectors[i]->wait();
      const auto bits = collectors[i]->bits();
      ASSERT_FALSE(bits.empty());
      if (expected.size() == i) expected.push_back(bits);
      EXPECT_EQ(bits, expected[i]) << "request " << i << ", tp " << sizes.tp << " pp " << sizes.pp << " dp "
                                   << sizes.dp;
    }
    cluster.expect_nothing_held();
  }
}

/// A grammar's masks follow the plans: with one stage a micro-batch is planned before the token of the one before is
/// known. Constrained choices run beside others, with few blocks, and are texts of their grammar.
TEST(LocalCluster, GrammarsHoldOnEveryLayout) {
  const GrammarSource sources[] = {
      {GrammarKind::regex, "[a-c]{2,5}-[0-9]+x"},
      {GrammarKind::choice, R"(["left","right"])"},
      {GrammarKind::json_schema,
       R"({"type":"object","properties":{"a":{"type":"integer","maximum":99,"minimum":0},"b":{"enum":["x","yy"]}},"required":["a","b"]})"}};
  std::vector<std::vector<std::pair<TokenId, float>>> expected;
  EngineOptions options = small_options();
  options.num_kv_blocks = 16;
  int num_whole = 0;
  for (const LayoutSizes sizes :
       {LayoutSizes{}, LayoutSizes{.pp = 2}, LayoutSizes{.tp = 3}, LayoutSizes{.dp = 2, .tp = 2}}) {
    LocalCluster cluster(options, sizes);
    cluster.wait_until_ready();
    std::vector<std::shared_ptr<Collector>> collectors;
    for (int i = 0; i < 9; ++i) {
      Request request = request_of(prompt_of(40 + 20 * i, i), 30, i % 2 == 0 ? 0.0f : 1.0f);
      request.num_choices = 1 + i % 2;
      request.sampling.ignore_eos = true;  // a grammar's end is the end
      if (i < 6) request.grammar = cluster.model()->grammars->get(sources[i % 3]);
      collectors.push_back(cluster.submit(std::move(request)));
    }
    for (size_t i = 0; i < collectors.size(); ++i) {
      collectors[i]->wait();
      const auto bits = collectors[i]->bits();
      if (expected.size() == i) expected.push_back(bits);
      EXPECT_EQ(bits, expected[i]) << "request " << i << ", tp " << sizes.tp << " pp " << sizes.pp << " dp "
                                   << sizes.dp;
      if (i >= 6) continue;
      for (int choice = 0; choice <= static_cast<int>(i % 2); ++choice) {
        Matcher matcher(cluster.model()->grammars->get(sources[i % 3]));
        for (const OutputToken& token : collectors[i]->tokens(choice)) EXPECT_TRUE(matcher.advance(token.token));
        num_whole += collectors[i]->finish(choice) == FinishReason::stop;
        EXPECT_EQ(collectors[i]->finish(choice) == FinishReason::stop, matcher.may_end());
      }
    }
    cluster.expect_nothing_held();
  }
  EXPECT_GE(num_whole, 16);
}

TEST(LocalCluster, PrefixHitsAndPreemptionChangeNoBit) {
  EngineOptions options = small_options();
  LocalCluster roomy(options, {});
  roomy.wait_until_ready();
  const auto first = roomy.submit(request_of(prompt_of(100), 8));
  first->wait();
  const auto again = roomy.submit(request_of(prompt_of(100), 8));
  again->wait();
  EXPECT_EQ(first->num_cached(), 0);
  EXPECT_EQ(again->num_cached(), 96);
  EXPECT_EQ(first->bits(), again->bits());

  options.num_kv_blocks = 16;  // one sequence of 512 tokens
  LocalCluster narrow(options, {.pp = 2});
  narrow.wait_until_ready();
  std::vector<std::shared_ptr<Collector>> wide, tight;
  for (int i = 0; i < 6; ++i) {
    wide.push_back(roomy.submit(request_of(prompt_of(60, i), 40)));
    tight.push_back(narrow.submit(request_of(prompt_of(60, i), 40)));
  }
  for (int i = 0; i < 6; ++i) {
    wide[i]->wait();
    tight[i]->wait();
    EXPECT_EQ(wide[i]->bits(), tight[i]->bits()) << i;
  }
  EXPECT_GT(narrow.engine().metrics().preemptions, 0u);
  narrow.expect_nothing_held();
}

/// Metrics once every rank has told of every micro-batch.
EngineMetrics metrics_after_work(LocalCluster& cluster) {
  const auto told = [&](const EngineMetrics& metrics) {
    const auto batches = cluster.engine().pipeline();
    return !batches.empty() && batches.back().number == metrics.steps;
  };
  EngineMetrics metrics = cluster.engine().metrics();
  for (int i = 0; i < 1000 && !told(metrics); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    metrics = cluster.engine().metrics();
  }
  EXPECT_TRUE(told(metrics));
  return metrics;
}

TEST(LocalCluster, RanksSayWhereTheirTimeGoesAndWhatTheirWorkNeeds) {
  std::array<double, 4> alone{};
  for (const LayoutSizes sizes : {LayoutSizes{}, LayoutSizes{.pp = 2}, LayoutSizes{.tp = 2, .pp = 2}}) {
    LocalCluster cluster(small_options(), sizes);
    cluster.wait_until_ready();
    cluster.submit(request_of(prompt_of(70), 6))->wait();
    const EngineMetrics metrics = metrics_after_work(cluster);
    std::array<double, 4> operations{};
    for (const RankMetrics& rank : metrics.ranks) {
      const bool last = rank.pp == sizes.pp - 1;
      EXPECT_GT(rank.busy_seconds, 0);
      EXPECT_EQ(rank.sampling_seconds > 0, last);
      EXPECT_LT(rank.sampling_seconds, rank.busy_seconds);
      EXPECT_EQ(rank.wait.activations > 0, rank.pp > 0);
      EXPECT_EQ(rank.wait.send > 0, !last);
      EXPECT_EQ(rank.wait.exchange > 0, sizes.tp > 1);
      EXPECT_GT(rank.active_seconds, 0);
      // Every micro-batch reads the weights, and only the last stage has the head.
      EXPECT_GE(rank.work.bytes, 0.5 * static_cast<double>(metrics.steps * rank.weight_bytes));
      for (size_t i = 0; i < operations.size(); ++i) operations[i] += rank.work.operations[i];
    }
    EXPECT_GT(metrics.plan_bytes, metrics.steps * metrics.ranks.size());
    EXPECT_EQ(metrics.micro_batches_in_flight, 0u);
    EXPECT_GE(metrics.slowest_rank, 0);
    for (const TracedMicroBatch& batch : cluster.engine().pipeline())
      EXPECT_EQ(batch.stages.size(), static_cast<size_t>(sizes.pp));
    if (sizes.num_ranks() == 1) alone = operations;
    // The same tokens need the same operations on every layout, but for KV heads that several parts hold.
    EXPECT_GT(operations[0], 0);
    EXPECT_GT(operations[3], 0);
    EXPECT_EQ(operations[3], alone[3]);
    EXPECT_GE(operations[0], alone[0]);
    if (sizes.tp == 1) {
      EXPECT_EQ(operations, alone);
    }
  }
}

TEST(LocalCluster, CancelAndStopFreeEverything) {
  LocalCluster cluster(small_options(), {.pp = 2});
  cluster.wait_until_ready();
  const auto cancelled = cluster.submit(request_of(prompt_of(20), 400));
  const RequestHandle handle = cluster.last_handle();
  const auto stopped = cluster.submit(request_of(prompt_of(20, 1), 400));
  const RequestHandle stop_handle = cluster.last_handle();
  const auto other = cluster.submit(request_of(prompt_of(30), 10));
  cancelled->wait_for_tokens(3);
  cluster.engine().cancel(handle);
  cluster.engine().stop_choice(stop_handle, 0);
  cluster.engine().cancel(999999);
  cancelled->wait();
  stopped->wait();
  other->wait();
  EXPECT_EQ(cancelled->finish(), FinishReason::abort);
  EXPECT_EQ(stopped->finish(), FinishReason::stop);
  EXPECT_EQ(other->finish(), FinishReason::length);
  cluster.expect_nothing_held();
}

/// A grammar that leaves nothing of what the request allows is the client's doing, and it is told.
TEST(LocalCluster, AGrammarAgainstAllowedTokensIsARefusal) {
  LocalCluster cluster(small_options(), {});
  cluster.wait_until_ready();
  Request request = request_of(prompt_of(5), 4);
  request.grammar = cluster.model()->grammars->get({.kind = GrammarKind::choice, .text = R"(["yes"])"});
  request.sampling.allowed_token_ids = cluster.model()->tokenizer->encode("7", {});
  const auto refused = cluster.submit(std::move(request));
  refused->wait();
  EXPECT_EQ(refused->finish(), FinishReason::error);
  EXPECT_EQ(refused->refused_with(), 400);

  // SmolLM2 has no token with the first byte of a code point above U+40000.
  request = request_of(prompt_of(5), 4);
  request.grammar = cluster.model()->grammars->get({.kind = GrammarKind::choice, .text = "[\"\xf1\xa0\xa6\x95\"]"});
  const auto unspelled = cluster.submit(std::move(request));
  unspelled->wait();
  EXPECT_EQ(unspelled->finish(), FinishReason::error);
  EXPECT_EQ(unspelled->refused_with(), 400);
}

TEST(LocalCluster, EndsWhatTakesLongerThanItMay) {
  EngineOptions options = small_options();
  options.max_num_seqs = 1;
  options.max_queue_time_s = 1;
  LocalCluster cluster(options, {});
  cluster.wait_until_ready();
  const auto long_one = [](int timeout_ms) {
    Request request = request_of(prompt_of(5), 500);
    request.sampling.ignore_eos = true;
    if (timeout_ms > 0) request.timeout = std::chrono::milliseconds(timeout_ms);
    return request;
  };
  const auto running = cluster.submit(long_one(150));
  const auto impatient = cluster.submit(long_one(20));
  running->wait();
  impatient->wait();
  EXPECT_EQ(running->finish(), FinishReason::timeout);
  EXPECT_EQ(running->refused_with(), 408) << "it had started";
  EXPECT_EQ(impatient->refused_with(), 408) << "it had not";
  // Nothing runs any more: others start at once, and a time that is long enough changes nothing.
  const auto patient = cluster.submit(long_one(120'000));
  std::vector<std::shared_ptr<Collector>> behind;
  for (int i = 0; i < 4; ++i) behind.push_back(cluster.submit(long_one(0)));
  patient->wait();
  EXPECT_EQ(patient->finish(), FinishReason::length);
  behind.back()->wait();
  EXPECT_EQ(behind.back()->refused_with(), 429) << "four times 500 tokens are before it";
  for (const auto& one : behind) one->wait();
  cluster.expect_nothing_held();
}

TEST(LocalCluster, RefusesWhatItCannotServe) {
  EngineOptions options = small_options();
  options.max_queue = 1;
  options.max_num_seqs = 1;
  LocalCluster cluster(options, {});
  const auto early = cluster.engine().submit(request_of(prompt_of(5), 5), std::make_shared<Collector>(1));
  ASSERT_TRUE(early.has_error());
  EXPECT_EQ(early.error().http_status, 503);
  cluster.wait_until_ready();
  const auto refused = [&](Request request) {
    const auto result = cluster.engine().submit(std::move(request), std::make_shared<Collector>(1));
    return result.has_error() ? result.error() : RequestError{.http_status = 200};
  };
  EXPECT_EQ(refused(request_of({}, 5)).http_status, 400);
  EXPECT_EQ(refused(request_of({-1}, 5)).param, "prompt");
  EXPECT_EQ(refused(request_of({1 << 30}, 5)).param, "prompt");
  EXPECT_EQ(refused(request_of(prompt_of(600), 5)).code, "context_length_exceeded");
  EXPECT_EQ(refused(request_of(prompt_of(500), 13)).code, "context_length_exceeded");
  Request wrong = request_of(prompt_of(5), 5);
  wrong.sampling.top_p = 0;
  EXPECT_EQ(refused(wrong).param, "top_p");
  const auto one = cluster.submit(request_of(prompt_of(5), 200));
  const auto two = cluster.submit(request_of(prompt_of(5), 200));
  EXPECT_EQ(refused(request_of(prompt_of(5), 5)).http_status, 429);
  EXPECT_GT(refused(request_of(prompt_of(5), 5)).retry_after_s, 0);
  cluster.engine().drain();
  one->wait();
  two->wait();
  EXPECT_EQ(two->finish(), FinishReason::length) << "draining lets the queue finish";
  EXPECT_EQ(refused(request_of(prompt_of(5), 5)).http_status, 503);
}

TEST(LocalCluster, SaysWhatIsWrongWithTheModelOrTheBlocks) {
  EngineOptions options = small_options();
  options.num_kv_blocks = 3;
  LocalCluster cluster(options, {.pp = 2});
  for (int i = 0; i < 6000 && cluster.engine().state() == EngineState::loading; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(cluster.engine().state(), EngineState::failed);
  EXPECT_NE(cluster.engine().state_reason().find("--num-kv-blocks"), std::string::npos)
      << cluster.engine().state_reason();
}

}  // namespace
}  // namespace echelon
