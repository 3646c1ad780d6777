// Ranks are lost while they serve: every stream goes on elsewhere, with the bits of a run in which nothing happened.
#include <gtest/gtest.h>

#include <random>

#include "engine/grammar/grammar.h"
#include "engine/text/tokenizer.h"
#include "tests/engine/local_cluster.h"

namespace echelon {
namespace {

using Bits = std::vector<std::pair<TokenId, float>>;

/// Short and long prompts, drawn and greedy, with choices, a grammar, penalties and log-probabilities of the prompt.
std::vector<Request> many_requests(const ModelInfo& model) {
  std::vector<Request> requests;
  for (int i = 0; i < 8; ++i) {
    Request request = request_of(prompt_of(20 + 45 * i, i), 24 + 4 * i, i % 2 == 0 ? 0.0f : 0.9f);
    if (i % 4 == 1) request.num_choices = 2;
    if (i % 4 == 2) request.sampling.repetition_penalty = 1.2f;
    if (i == 3) request.sampling.num_prompt_logprobs = 1;
    if (i == 5) request.grammar = model.grammars->get({GrammarKind::regex, "[a-d ]{30,200}"});
    requests.push_back(std::move(request));
  }
  return requests;
}

EngineOptions options() {
  EngineOptions options = small_options();
  options.num_kv_blocks = 96;
  return options;
}

std::vector<Bits> undisturbed() {
  LocalCluster cluster(options(), {});
  cluster.wait_until_ready();
  std::vector<std::shared_ptr<Collector>> collectors;
  for (Request& request : many_requests(*cluster.model())) collectors.push_back(cluster.submit(std::move(request)));
  std::vector<Bits> bits;
  for (const auto& collector : collectors) {
    collector->wait();
    bits.push_back(collector->bits());
  }
  return bits;
}

struct Loss {
  int rank = 0;
  size_t after_tokens = 0;  ///< of the first request
};

/// Returns the cluster's metrics in the end.
EngineMetrics check(LayoutSizes sizes, int num_spares, const std::vector<Loss>& losses,
                    const std::vector<Bits>& expected) {
  LocalCluster cluster(options(), sizes, num_spares);
  cluster.wait_until_ready();
  std::vector<std::shared_ptr<Collector>> collectors;
  for (Request& request : many_requests(*cluster.model())) collectors.push_back(cluster.submit(std::move(request)));
  for (const Loss& loss : losses) {
    collectors[0]->wait_for_tokens(loss.after_tokens);
    cluster.kill(loss.rank);
  }
  for (size_t i = 0; i < collectors.size(); ++i) {
    collectors[i]->wait();
    EXPECT_EQ(collectors[i]->bits(), expected[i]) << "request " << i;
    EXPECT_EQ(collectors[i]->finish(), FinishReason::length) << "request " << i;
  }
  cluster.expect_nothing_held();
  EXPECT_EQ(cluster.engine().state(), EngineState::ready);
  return cluster.engine().metrics();
}

TEST(Repair, ASpareTakesTheFirstOrTheLastStage) {
  const std::vector<Bits> expected = undisturbed();
  for (const int victim : {1, 2}) {
    const EngineMetrics metrics = check({.pp = 3}, 1, {{victim, 5}}, expected);
    EXPECT_EQ(metrics.ranks_lost, 1u);
    EXPECT_EQ(metrics.repairs, 1u);
    EXPECT_EQ(metrics.num_spares, 0u);
    EXPECT_GT(metrics.replayed_tokens, 100u);
  }
}

TEST(Repair, OneAfterTheOtherUntilRankZeroIsAlone) {
  const std::vector<Bits> expected = undisturbed();
  const EngineMetrics metrics = check({.tp = 2, .pp = 2}, 1, {{3, 1}, {1, 4}, {4, 9}, {2, 14}}, expected);
  EXPECT_EQ(metrics.ranks_lost, 4u);
  EXPECT_EQ(metrics.ranks.size(), 1u);
}

TEST(Repair, TheOtherReplicaTakesOver) {
  const std::vector<Bits> expected = undisturbed();
  const EngineMetrics metrics = check({.dp = 2, .tp = 1, .pp = 2}, 0, {{3, 3}}, expected);
  EXPECT_EQ(metrics.ranks_lost, 1u);
  EXPECT_EQ(metrics.repairs, 0u);
  EXPECT_EQ(metrics.num_spares, 1u);
}

/// Several at once, also while others are being repaired.
TEST(Repair, AtRandomTimes) {
  const std::vector<Bits> expected = undisturbed();
  for (uint32_t seed = 0; seed < 6; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const LayoutSizes sizes[] = {{.pp = 2}, {.tp = 3}, {.tp = 2, .pp = 2}, {.dp = 2, .tp = 2}};
    const LayoutSizes chosen = sizes[seed % 4];
    const int num_spares = static_cast<int>(random() % 3);
    std::vector<int> victims;
    for (int rank = 1; rank < chosen.num_ranks() + num_spares; ++rank) victims.push_back(rank);
    std::shuffle(victims.begin(), victims.end(), random);
    victims.resize(std::min<size_t>(victims.size(), 1 + random() % 3));
    std::vector<Loss> losses;
    size_t at = 0;
    for (const int victim : victims) losses.push_back({victim, at += random() % 4});
    check(chosen, num_spares, losses, expected);
  }
}

/// A choice with its first tokens, as another server gave them, and no log-probabilities.
Request rest_of(const Request& whole, int choice, const std::vector<OutputToken>& tokens, size_t num_given) {
  Request rest = whole;
  rest.num_choices = 1;
  rest.first_choice = choice;
  rest.sampling.num_logprobs = rest.sampling.num_prompt_logprobs = -1;
  for (size_t i = 0; i < num_given; ++i) rest.output.push_back(tokens[i].token);
  return rest;
}

TEST(Repair, ARequestThatBringsItsFirstTokensGoesOnBehindThem) {
  LocalCluster before(options(), {});
  before.wait_until_ready();
  const std::vector<Request> requests = many_requests(*before.model());
  std::vector<std::shared_ptr<Collector>> wholes;
  for (const Request& request : requests) wholes.push_back(before.submit(request));
  for (const auto& whole : wholes) whole->wait();

  LocalCluster after(options(), {.pp = 2});
  after.wait_until_ready();
  std::mt19937 random(11);
  struct Rest {
    std::shared_ptr<Collector> collector;
    std::vector<TokenId> expected;
  };
  std::vector<Rest> rests;
  for (size_t i = 0; i < requests.size(); ++i) {
    for (int choice = 0; choice < requests[i].num_choices; ++choice) {
      const std::vector<OutputToken>& tokens = wholes[i]->tokens(choice);
      for (const size_t given : {size_t{0}, size_t{1}, random() % tokens.size(), tokens.size() - 1}) {
        Rest& rest = rests.emplace_back();
        rest.collector = after.submit(rest_of(requests[i], choice, tokens, given));
        for (size_t t = given; t < tokens.size(); ++t) rest.expected.push_back(tokens[t].token);
      }
    }
  }
  for (const Rest& rest : rests) {
    rest.collector->wait();
    std::vector<TokenId> got;
    for (const OutputToken& token : rest.collector->tokens(0)) got.push_back(token.token);
    EXPECT_EQ(got, rest.expected);
    EXPECT_EQ(rest.collector->finish(), FinishReason::length);
  }
  after.expect_nothing_held();
}

TEST(Repair, TokensThatCannotHaveBeenGivenAreRefused) {
  LocalCluster cluster(options(), {});
  cluster.wait_until_ready();
  const auto status_of = [&](Request request) {
    const auto handle = cluster.engine().submit(std::move(request), std::make_shared<Collector>(2));
    return handle.has_error() ? handle.error().http_status : 200;
  };
  const auto with_output = [](std::vector<TokenId> output) {
    Request request = request_of(prompt_of(20), 4);
    request.sampling.num_logprobs = -1;
    request.output = std::move(output);
    return request;
  };
  EXPECT_EQ(status_of(with_output({1, 2, 3, 4})), 409) << "nothing is left";
  EXPECT_EQ(status_of(with_output({-1})), 409);
  EXPECT_EQ(status_of(with_output({1 << 30})), 409);
  Request request = with_output({1});
  request.sampling.num_logprobs = 0;
  EXPECT_EQ(status_of(request), 409);
  request = with_output({1});
  request.num_choices = 2;
  EXPECT_EQ(status_of(request), 409);
  request = with_output({300});
  request.grammar = cluster.model()->grammars->get({GrammarKind::regex, "[0-9]+"});
  EXPECT_EQ(status_of(request), 409);
}

TEST(Repair, RequestsThatComeMeanwhileWait) {
  const std::vector<Bits> expected = undisturbed();
  LocalCluster cluster(options(), {.pp = 2});
  cluster.wait_until_ready();
  cluster.kill(1);
  std::vector<std::shared_ptr<Collector>> collectors;
  for (Request& request : many_requests(*cluster.model())) collectors.push_back(cluster.submit(std::move(request)));
  for (size_t i = 0; i < collectors.size(); ++i) {
    collectors[i]->wait();
    EXPECT_EQ(collectors[i]->bits(), expected[i]) << "request " << i;
  }
}

TEST(Repair, CancelledOnesDoNotComeBack) {
  LocalCluster cluster(options(), {.pp = 2});
  cluster.wait_until_ready();
  const auto first = cluster.submit(request_of(prompt_of(200), 100));
  first->wait_for_tokens(3);
  cluster.kill(1);
  const auto second = cluster.submit(request_of(prompt_of(20), 5));
  cluster.engine().cancel(cluster.last_handle() - 1);
  first->wait();
  second->wait();
  EXPECT_EQ(first->finish(), FinishReason::abort);
  EXPECT_EQ(second->finish(), FinishReason::length);
  cluster.expect_nothing_held();
}

TEST(Repair, WithoutItTheJobEnds) {
  EngineOptions without = options();
  without.repair = false;
  LocalCluster cluster(without, {.pp = 2}, 1);
  cluster.wait_until_ready();
  const auto stream = cluster.submit(request_of(prompt_of(20), 400));
  stream->wait_for_tokens(1);
  cluster.kill(1);
  stream->wait();
  EXPECT_EQ(stream->finish(), FinishReason::error);
  EXPECT_EQ(cluster.engine().state(), EngineState::failed);
}

}  // namespace
}  // namespace echelon
