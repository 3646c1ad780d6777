// The steps of the sampler against a naive one: greedy choice, truncation, penalties, tokens not allowed yet,
// log-probabilities, and numbers that are none.
#include "engine/sample/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include "tests/engine/reference_sampler.h"

namespace echelon {
namespace {

using namespace reference;

// --- greedy ---

TEST(Greedy, TakesTheLargestAndTheSmallestIdOfEquals) {
  Sampler sampler({});
  const SamplingState greedy = state_of({.temperature = 0, .seed = 1});
  std::mt19937 random(1);
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<float> logits(1 + random() % 300);
    for (float& logit : logits) logit = static_cast<float>(static_cast<int>(random() % 7)) - 3;  // many equals
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    ASSERT_EQ(sampler.sample(logits, greedy, trial).token, best);
  }
}

TEST(Greedy, IgnoresTruncationSeedAndPosition) {
  Sampler sampler({});
  const std::vector<float> logits{0, 3, 2, 3};
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const SamplingState state = state_of({.temperature = 0, .top_k = 2, .top_p = 0.1f, .min_p = 0.9f, .seed = seed});
    ASSERT_EQ(sampler.sample(logits, state, static_cast<int>(seed)).token, 1);
  }
}

// --- truncation ---

TEST(Truncation, EveryDrawIsThatOfTheNaiveSampler) {
  std::mt19937 random(2);
  Sampler sampler({});
  int others = 0;
  for (int trial = 0; trial < 6000; ++trial) {
    const std::vector<float> logits =
        random_logits(random, 1 + random() % pick(random, {3, 40, 700}), pick(random, {0.1f, 1.f, 4.f}));
    const SamplingParams params{.temperature = pick(random, {0.001f, 0.3f, 1.f, 1.7f, 100.f}),
                                .top_k = pick(random, {-1, 0, 1, 2, 5, 40, 699, 700, 1 << 30}),
                                .top_p = pick(random, {1.f, 0.999f, 0.9f, 0.5f, 0.01f, 1e-30f}),
                                .min_p = pick(random, {0.f, 0.f, 1e-20f, 0.02f, 0.5f, 1.f}),
                                .typical_p = pick(random, {1.f, 1.f, 0.95f, 0.5f, 0.1f}),
                                .seed = (uint64_t{random()} << 32) | random()};
    const int position = static_cast<int>(random() % (1 << 20)), choice = static_cast<int>(random() % 4);
    const TokenId expected = reference_draw(doubles(logits), params, position, choice);
    ASSERT_EQ(sampler.sample(logits, state_of(params, choice), position).token, expected)
        << "trial " << trial << ", " << logits.size() << " tokens, T " << params.temperature << ", top_k "
        << params.top_k << ", top_p " << params.top_p << ", min_p " << params.min_p << ", typical_p "
        << params.typical_p;
    others += expected != std::max_element(logits.begin(), logits.end()) - logits.begin();
  }
  EXPECT_GT(others, 1000) << "draws that are not the most likely token";
}

TEST(Truncation, EveryDrawFromALargeVocabularyIsThatOfTheNaiveSampler) {
  std::mt19937 random(21);
  Sampler sampler({});
  for (int trial = 0; trial < 240; ++trial) {
    std::vector<float> logits = random_logits(random, 6000 + random() % 6000, pick(random, {0.f, 0.1f, 1.f, 4.f}));
    if (trial % 4 == 0) {
      for (int i = 0; i < 20; ++i) logits[random() % logits.size()] += 9;  // a few stand out
    }
    if (trial % 7 == 0) logits[random() % logits.size()] = -kInfinity;
    const SamplingParams params{.temperature = pick(random, {0.3f, 1.f, 1.7f}),
                                .top_k = pick(random, {0, 0, 1, 40, 5999}),
                                .top_p = pick(random, {1.f, 0.99f, 0.9f, 0.5f, 0.001f}),
                                .min_p = pick(random, {0.f, 0.f, 1e-3f, 0.3f}),
                                .typical_p = pick(random, {1.f, 1.f, 0.999f, 0.3f}),
                                .seed = (uint64_t{random()} << 32) | random()};
    const int position = static_cast<int>(random() % (1 << 20));
    ASSERT_EQ(sampler.sample(logits, state_of(params), position).token,
              reference_draw(doubles(logits), params, position, 0))
        << "trial " << trial << ", " << logits.size() << " tokens, T " << params.temperature << ", top_k "
        << params.top_k << ", top_p " << params.top_p << ", min_p " << params.min_p << ", typical_p "
        << params.typical_p;
  }
}

TEST(Truncation, TheTokensThatComeOutAreThoseThatAreLeft) {
  std::mt19937 random(3);
  Sampler sampler({});
  for (int trial = 0; trial < 150; ++trial) {
    const std::vector<float> logits = random_logits(random, 2 + random() % 30, 0.5f);
    const SamplingParams params{.temperature = pick(random, {0.7f, 1.f, 2.f}),
                                .top_k = pick(random, {0, 1, 3, 10, 100}),
                                .top_p = pick(random, {1.f, 0.95f, 0.6f, 0.2f}),
                                .min_p = pick(random, {0.f, 0.1f, 0.4f, 0.8f}),
                                .typical_p = pick(random, {1.f, 0.8f, 0.4f}),
                                .seed = random()};
    std::set<TokenId> drawn;
    for (int position = 0; position < 6000; ++position)
      drawn.insert(sampler.sample(logits, state_of(params), position).token);
    const auto left = support(doubles(logits), params);
    ASSERT_EQ(drawn, std::set<TokenId>(left.begin(), left.end())) << "trial " << trial;
  }
}

TEST(Truncation, OfEqualsTheSmallestIdsStay) {
  Sampler sampler({});
  const std::vector<float> logits{0, 2, 0, 2, 2, 0, 2};
  const auto drawn = [&](SamplingParams params) {
    params.seed = 11;
    std::set<TokenId> tokens;
    for (int position = 0; position < 2000; ++position)
      tokens.insert(sampler.sample(logits, state_of(params), position).token);
    return tokens;
  };
  EXPECT_EQ(drawn({.top_k = 2}), (std::set<TokenId>{1, 3}));
  EXPECT_EQ(drawn({.top_k = 5}), (std::set<TokenId>{0, 1, 3, 4, 6}));
  EXPECT_EQ(drawn({.top_k = 4, .top_p = 0.5f}), (std::set<TokenId>{1, 3})) << "half of the mass exactly";
  EXPECT_EQ(drawn({.top_k = 4, .top_p = 0.51f}), (std::set<TokenId>{1, 3, 4}));
  EXPECT_EQ(drawn({.min_p = 1}), (std::set<TokenId>{1, 3, 4, 6})) << "as likely as the most likely one";
  EXPECT_EQ(drawn({.top_k = 6, .min_p = 1}), (std::set<TokenId>{1, 3, 4, 6}));
  EXPECT_EQ(drawn({.top_p = 1e-30f}), (std::set<TokenId>{1})) << "never none";
}

TEST(Truncation, TopPCountsTheMassThatTopKAndMinPLeft) {
  Sampler sampler({});
  const auto log = [](double p) { return static_cast<float>(std::log(p)); };
  const std::vector<float> logits{log(0.4), log(0.3), log(0.2), log(0.1)};
  const auto drawn = [&](SamplingParams params) {
    params.seed = 12;
    std::set<TokenId> tokens;
    for (int position = 0; position < 2000; ++position)
      tokens.insert(sampler.sample(logits, state_of(params), position).token);
    return tokens;
  };
  EXPECT_EQ(drawn({.top_p = 0.5f}), (std::set<TokenId>{0, 1}));
  EXPECT_EQ(drawn({.top_k = 2, .top_p = 0.5f}), (std::set<TokenId>{0})) << "0.4 of 0.7 is more than half";
  EXPECT_EQ(drawn({.top_p = 0.5f, .min_p = 0.7f}), (std::set<TokenId>{0})) << "min_p leaves 0.4 and 0.3";
  EXPECT_EQ(drawn({.top_p = 0.75f}), (std::set<TokenId>{0, 1, 2}));
}

// --- penalties and tokens not allowed yet ---

TEST(Penalties, AreThoseOfTheNaiveSampler) {
  std::mt19937 random(6);
  Sampler sampler({});
  int changed = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    const int size = 2 + static_cast<int>(random() % 30);
    const std::vector<float> logits = random_logits(random, size, 1.5f);
    const auto tokens_of = [&](int most) {
      std::vector<TokenId> tokens(random() % most);
      for (TokenId& token : tokens) token = static_cast<TokenId>(random() % size);
      return tokens;
    };
    const std::vector<TokenId> prompt = tokens_of(8), output = tokens_of(12);
    SamplingParams params{.temperature = pick(random, {0.f, 0.9f}),
                          .top_k = pick(random, {0, 3}),
                          .repetition_penalty = pick(random, {1.f, 1.3f, 0.7f, 100.f, 0.01f}),
                          .presence_penalty = pick(random, {0.f, 0.5f, -0.5f, 2.f}),
                          .frequency_penalty = pick(random, {0.f, 0.3f, -0.3f, 2.f}),
                          .seed = random()};
    if (random() % 3 == 0)
      params.logit_bias = {{.token = tokens_of(2).empty() ? 0 : 1, .bias = pick(random, {9.f, -9.f})}};
    if (random() % 3 == 0) params.allowed_token_ids = tokens_of(8);
    for (uint32_t words = random() % 4; words > 0; --words) {
      params.bad_words.push_back(tokens_of(3));
      params.bad_words.back().push_back(static_cast<TokenId>(random() % size));
    }
    // Some are about to be written.
    if (random() % 3 == 0 && !output.empty())
      params.bad_words.push_back({output.back(), 1}), params.bad_words.push_back({0});
    std::vector<TokenId> tokens = prompt;
    tokens.insert(tokens.end(), output.begin(), output.end());
    const SamplingState whole(params, 0, static_cast<int>(prompt.size()), tokens);
    SamplingState grown(params, 0, static_cast<int>(prompt.size()), prompt);
    for (const TokenId token : output) grown.note_output(token);

    const std::vector<double> values = penalised(logits, params, prompt, output);
    const int position = static_cast<int>(tokens.size());
    TokenId expected = kNoToken;
    if (params.temperature != 0) {
      expected = reference_draw(values, params, position, 0);
    } else if (const auto best = std::max_element(values.begin(), values.end()); *best > -kInfinity) {
      expected = static_cast<TokenId>(best - values.begin());
    }
    ASSERT_EQ(sampler.sample(logits, whole, position).token, expected) << "trial " << trial;
    ASSERT_EQ(sampler.sample(logits, grown, position).token, expected) << "trial " << trial;
    changed +=
        sampler
            .sample(logits, state_of({.temperature = params.temperature, .top_k = params.top_k, .seed = params.seed}),
                    position)
            .token != expected;
  }
  EXPECT_GT(changed, 500) << "trials in which a penalty mattered";
}

TEST(Penalties, RepetitionComesBeforeFrequencyAndPresence) {
  Sampler sampler({});
  const std::vector<TokenId> tokens{0, 0};
  // 4 / 2 - 2 * 0.5 - 0.25 = 0.75; the other order gives (4 - 1.25) / 2 = 1.375.
  const SamplingState state(
      {.temperature = 0, .repetition_penalty = 2, .presence_penalty = 0.25f, .frequency_penalty = 0.5f}, 0, 0, tokens);
  EXPECT_EQ(sampler.sample(std::vector<float>{4, 0.8f}, state, 2).token, 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{4, 0.7f}, state, 2).token, 0);
}

TEST(Penalties, OnlyRepetitionCountsThePrompt) {
  Sampler sampler({});
  const std::vector<TokenId> prompt{0, 0, 0};
  const std::vector<float> logits{1, 0.9f};
  const auto token = [&](SamplingParams params) {
    params.temperature = 0;
    return sampler.sample(logits, SamplingState(params, 0, 3, prompt), 3).token;
  };
  EXPECT_EQ(token({.presence_penalty = 2, .frequency_penalty = 2}), 0);
  EXPECT_EQ(token({.repetition_penalty = 1.2f}), 1);
}

TEST(TokenLists, ABadWordIsNotFinishedAndOnlyThenItsLastTokenIsForbidden) {
  Sampler sampler({});
  const std::vector<float> logits{0, 9, 5, 8};
  SamplingState state({.temperature = 0, .bad_words = {{2, 3, 1}, {3}}}, 0, 2, {});
  const auto next = [&] { return sampler.sample(logits, state, 2).token; };
  EXPECT_EQ(next(), 1) << "3 is a word of its own";
  state.note_output(2);
  EXPECT_EQ(next(), 1);
  state.note_output(3);
  EXPECT_EQ(next(), 2) << "2 3 1 is a word";
  state.note_output(1);
  EXPECT_EQ(next(), 1);
  const SamplingState again(state.params, 0, 2, std::vector<TokenId>{2, 3, 2, 3});
  EXPECT_EQ(sampler.sample(logits, again, 4).token, 2) << "after a preemption";
  const SamplingState prompt(state.params, 0, 2, std::vector<TokenId>{2, 3});
  EXPECT_EQ(sampler.sample(logits, prompt, 2).token, 1) << "a prompt is no output";
}

TEST(TokenLists, ValidateNamesWhatIsOutOfRange) {
  const auto param = [](const SamplingParams& params) {
    const auto error = validate(params, 100);
    return error ? error->param : "";
  };
  EXPECT_EQ(param({.logit_bias = {{99, 100}, {0, -100}}, .allowed_token_ids = {0, 99}, .bad_words = {{99, 0}}}), "");
  EXPECT_EQ(param({.logit_bias = {{100, 1}}}), "logit_bias");
  EXPECT_EQ(param({.logit_bias = {{1, 100.5f}}}), "logit_bias");
  EXPECT_EQ(param({.logit_bias = {{1, kNan}}}), "logit_bias");
  EXPECT_EQ(param({.logit_bias = std::vector<TokenBias>(kMaxLogitBiases + 1)}), "logit_bias");
  EXPECT_EQ(param({.allowed_token_ids = {-1}}), "allowed_token_ids");
  EXPECT_EQ(param({.allowed_token_ids = std::vector<TokenId>(kMaxAllowedTokens + 1)}), "allowed_token_ids");
  EXPECT_EQ(param({.bad_words = {{}}}), "bad_words");
  EXPECT_EQ(param({.bad_words = {{1, 100}}}), "bad_words");
  EXPECT_EQ(param({.bad_words = {std::vector<TokenId>(kMaxBadWordTokens + 1)}}), "bad_words");
}

TEST(MinTokens, KeepsEndAndStopTokensAwayUntilTheyAreAllowed) {
  Sampler sampler({1, 4});
  const std::vector<float> logits{0, 9, -1, 8, 7};
  SamplingState state({.temperature = 0, .min_tokens = 3, .stop_token_ids = {3}}, 0, 10, {});
  for (const float temperature : {0.f, 1.f}) {
    state.params.temperature = temperature;
    for (uint64_t seed = 0; seed < 200; ++seed) {
      state.params.seed = seed;
      for (int position = 10; position < 13; ++position) {
        const TokenId token = sampler.sample(logits, state, position).token;
        ASSERT_TRUE(token == 0 || token == 2) << token << " is token " << position - 9 << " of the output";
      }
    }
  }
  state.params.temperature = 0;
  EXPECT_EQ(sampler.sample(logits, state, 13).token, 1) << "three tokens are out";
  state.params.min_tokens = 0;
  EXPECT_EQ(sampler.sample(logits, state, 10).token, 1);
}

TEST(MinTokens, IdsBeyondTheLogitsAreIgnoredAndNothingLeftIsNoToken) {
  Sampler sampler({-1, 2, 1 << 30});
  const SamplingState state({.temperature = 0, .min_tokens = 1, .stop_token_ids = {-5, 1, 99}}, 0, 0, {});
  EXPECT_EQ(sampler.sample(std::vector<float>{0, 2, 1}, state, 0).token, 0);
  EXPECT_EQ(sampler.sample(std::vector<float>{-kInfinity, 2, 1}, state, 0).token, kNoToken);
}

// --- masks ---

TEST(Mask, NothingElseIsSampled) {
  Sampler sampler({1});
  std::mt19937_64 random(5);
  for (const size_t vocab : {5u, 64u, 70u, 1000u}) {
    for (int round = 0; round < 200; ++round) {
      std::vector<float> logits(vocab);
      for (float& logit : logits) logit = static_cast<float>(random() % 1000) / 100;
      TokenMask mask(static_cast<int64_t>(vocab));
      for (int n = 1 + static_cast<int>(random() % 3); n > 0; --n) mask.allow(static_cast<TokenId>(random() % vocab));
      SamplingState state({.temperature = round % 2 == 0 ? 0.0f : 3.0f, .top_p = round % 3 == 0 ? 0.9f : 1.0f}, 0, 0,
                          {});
      state.params.seed = random();
      const TokenId token = sampler.sample(logits, state, 0, &mask).token;
      ASSERT_GE(token, 0);
      ASSERT_TRUE(mask.allows(token)) << token << " of " << vocab;
      if (round % 2 != 0) continue;
      for (size_t other = 0; other < vocab; ++other) {
        if (mask.allows(static_cast<TokenId>(other))) {
          ASSERT_GE(logits[token], logits[other]);
        }
      }
    }
  }
}

TEST(Mask, ComesBeforeTheOthersAndNothingLeftIsNoToken) {
  Sampler sampler({1});
  const std::vector<float> logits{0, 5, 4, 3};
  TokenMask mask(4);
  mask.allow(2);
  mask.allow(3);
  EXPECT_EQ(sampler.sample(logits, SamplingState({.temperature = 0}, 0, 0, {}), 0, &mask).token, 2);
  EXPECT_EQ(sampler.sample(logits, SamplingState({.temperature = 0, .bad_words = {{2}}}, 0, 0, {}), 0, &mask).token, 3);
  const SamplingState none({.temperature = 0, .allowed_token_ids = {0}}, 0, 0, {});
  EXPECT_EQ(sampler.sample(logits, none, 0, &mask).token, kNoToken);
}

TEST(Mask, WhereOnlyTheEndIsLeftMinTokensDoNotKeepItAway) {
  Sampler sampler({1, -1, 99});
  const std::vector<float> logits{0, 5, 4, 3};
  const SamplingState state({.temperature = 0, .min_tokens = 10}, 0, 0, {});
  TokenMask mask(4);
  mask.allow(1);
  EXPECT_EQ(sampler.sample(logits, state, 0, &mask).token, 1);
  mask.allow(3);
  EXPECT_EQ(sampler.sample(logits, state, 0, &mask).token, 3);
}

// --- log-probabilities ---

TEST(Logprob, IsTheLogSoftmaxOfTheRawLogitsWithItsRank) {
  std::mt19937 random(7);
  Sampler sampler({});
  for (int trial = 0; trial < 600; ++trial) {
    std::vector<float> logits =
        random_logits(random, 1 + random() % pick(random, {4, 60, 3000}), pick(random, {0.1f, 3.f, 40.f}));
    if (trial % 3 == 0) {
      for (float& logit : logits) logit = std::round(logit);  // equals
    }
    if (trial % 5 == 0) logits[random() % logits.size()] = -kInfinity;
    if (std::none_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); })) continue;
    const double most = *std::max_element(logits.begin(), logits.end());
    long double mass = 0;
    for (const float logit : logits) mass += std::exp(static_cast<long double>(logit) - most);
    const auto expected = [&](TokenId id) { return static_cast<double>(logits[id] - most - std::log(mass)); };
    const auto expect_near = [&](float value, TokenId id) {
      if (std::isinf(expected(id))) {
        EXPECT_EQ(value, -kInfinity);
      } else {
        // Half a unit in the last place, and the weights beside the largest one's, which is exact.
        const double others = static_cast<double>(1 - 1 / mass);
        EXPECT_NEAR(value, expected(id), std::abs(expected(id)) * 0x1p-24 + 1e-6 * others + 1e-12) << "token " << id;
      }
    };
    std::vector<TokenId> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });

    const auto token = static_cast<TokenId>(random() % logits.size());
    const int num_top = static_cast<int>(random() % (kMaxLogprobs + 1));
    const TokenLogprob result = sampler.logprob(logits, token, num_top);
    EXPECT_EQ(result.token, token);
    expect_near(result.logprob, token);
    EXPECT_EQ(result.rank, std::find(order.begin(), order.end(), token) - order.begin() + 1);
    ASSERT_EQ(result.top.size(), std::min(static_cast<size_t>(num_top), logits.size()));
    for (size_t i = 0; i < result.top.size(); ++i) {
      EXPECT_EQ(result.top[i].first, order[i]);
      expect_near(result.top[i].second, order[i]);
    }
  }
}

TEST(Logprob, IsAskedForWithNumLogprobsAndLooksPastPenaltiesAndTemperature) {
  Sampler sampler({2});
  const std::vector<float> logits{0.5f, 2, 3};
  SamplingState state({.temperature = 0, .repetition_penalty = 50, .min_tokens = 9}, 0, 1, std::vector<TokenId>{1});
  EXPECT_FALSE(sampler.sample(logits, state, 1).logprob);
  state.params.num_logprobs = 0;
  OutputToken output = sampler.sample(logits, state, 1);
  ASSERT_TRUE(output.logprob);
  EXPECT_EQ(output.token, 0) << "token 2 is not allowed yet, token 1 is penalised";
  EXPECT_TRUE(output.logprob->top.empty());
  EXPECT_EQ(output.logprob->rank, 3);
  EXPECT_NEAR(output.logprob->logprob, 0.5 - std::log(std::exp(0.5) + std::exp(2.0) + std::exp(3.0)), 1e-6);
  state.params.num_logprobs = 2;
  output = sampler.sample(logits, state, 1);
  ASSERT_EQ(output.logprob->top.size(), 2u);
  EXPECT_EQ(output.logprob->top[0].first, 2);
  EXPECT_EQ(output.logprob->top[1].first, 1);
}

// --- numbers that are none ---

TEST(NotFinite, NoFiniteLogitIsNoTokenWithoutLogprob) {
  Sampler sampler({});
  for (const std::vector<float>& logits :
       {std::vector<float>(5, -kInfinity), std::vector<float>(5, kNan), std::vector<float>{},
        std::vector<float>{-kInfinity, kNan}, std::vector<float>(5, kInfinity)}) {
    for (const SamplingParams& params :
         {SamplingParams{.temperature = 0}, SamplingParams{}, SamplingParams{.top_k = 2, .top_p = 0.5f, .min_p = 0.1f},
          SamplingParams{.repetition_penalty = 2}}) {
      SamplingState state = state_of(params);
      state.params.num_logprobs = 3;
      const OutputToken output = sampler.sample(logits, state, 0);
      EXPECT_EQ(output.token, kNoToken);
      EXPECT_FALSE(output.logprob);
    }
  }
}

TEST(NotFinite, MinusInfinityAndNanAreNeverDrawn) {
  std::mt19937 random(8);
  Sampler sampler({});
  for (int trial = 0; trial < 3000; ++trial) {
    std::vector<float> logits = random_logits(random, 2 + random() % 20, 1);
    for (float& logit : logits) {
      if (random() % 3 == 0) logit = pick(random, {-kInfinity, kNan, -kNan});
    }
    const SamplingParams params{.temperature = pick(random, {0.f, 1.f, 100.f}),
                                .top_k = pick(random, {0, 2, 50}),
                                .top_p = pick(random, {1.f, 0.9f}),
                                .min_p = pick(random, {0.f, 0.1f}),
                                .seed = random()};
    const TokenId token = sampler.sample(logits, state_of(params), trial).token;
    const bool any = std::any_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); });
    ASSERT_EQ(token != kNoToken, any);
    if (!any) continue;
    ASSERT_TRUE(std::isfinite(logits[token]));
    if (params.temperature == 0) continue;
    ASSERT_EQ(token, reference_draw(doubles(logits), params, trial, 0)) << "trial " << trial;
  }
}

TEST(NotFinite, TheLargestFloatsAreFinite) {
  Sampler sampler({});
  constexpr float kMost = std::numeric_limits<float>::max();
  const std::vector<float> logits{-kMost, kMost, 0, kMost};
  for (const float temperature : {0.f, 0.001f, 1.f, 100.f}) {
    for (const SamplingParams& params :
         {SamplingParams{}, SamplingParams{.top_p = 0.5f}, SamplingParams{.min_p = 0.5f}}) {
      SamplingState state = state_of(params);
      state.params.temperature = temperature;
      for (int position = 0; position < 100; ++position) {
        const TokenId token = sampler.sample(logits, state, position).token;
        ASSERT_TRUE(token == 1 || token == 3) << token;
      }
    }
  }
  const TokenLogprob result = sampler.logprob(logits, 3, 4);
  EXPECT_EQ(result.rank, 2);
  EXPECT_TRUE(std::isfinite(result.logprob) && result.logprob <= 0) << result.logprob;
}

}  // namespace
}  // namespace echelon
