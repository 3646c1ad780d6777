// Draws of the sampler: they follow the softmax, depend on what they may depend on and nothing else, and pruning tokens
// that cannot win never changes the winner.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>
#include <set>

#include "engine/sample/sampler.h"
#include "tests/engine/reference_sampler.h"

namespace echelon {
namespace {

using namespace reference;

/// The value that chi-square with so many degrees of freedom exceeds once in 10,000 times (Wilson and Hilferty).
double chi_square_limit(int degrees) {
  const double ninth = 2.0 / (9.0 * degrees), normal = 3.719;
  return degrees * std::pow(1 - ninth + normal * std::sqrt(ninth), 3);
}

double chi_square(const std::vector<int>& counts, const std::vector<double>& expected) {
  double sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) sum += (counts[i] - expected[i]) * (counts[i] - expected[i]) / expected[i];
  return sum;
}

/// Softmax over the support, times `draws`; 0 elsewhere.
std::vector<double> expected_counts(const std::vector<float>& logits, const SamplingParams& params, int draws) {
  std::vector<double> expected(logits.size(), 0.0);
  double whole = 0;
  for (const TokenId id : support(doubles(logits), params))
    whole += expected[id] = std::exp(logits[id] / params.temperature);
  for (double& value : expected) value *= draws / whole;
  return expected;
}

TEST(Draws, FollowTheSoftmaxOfWhatIsLeft) {
  const std::vector<float> logits{1.0f, 0.2f, -0.5f, 0.9f, 0.0f, -1.0f, 1.5f, 0.3f, -0.1f, 0.6f};
  Sampler sampler({});
  constexpr int kDraws = 40'000;
  for (const SamplingParams& base :
       {SamplingParams{}, SamplingParams{.temperature = 0.5f}, SamplingParams{.temperature = 2},
        SamplingParams{.top_k = 4}, SamplingParams{.top_p = 0.8f}, SamplingParams{.min_p = 0.3f}}) {
    for (const uint64_t seed : {uint64_t{0}, uint64_t{42}, uint64_t{1} << 32, ~uint64_t{0}}) {
      SamplingParams params = base;
      params.seed = seed;
      std::vector<int> by_position(logits.size()), by_choice(logits.size());
      for (int i = 0; i < kDraws; ++i) ++by_position[sampler.sample(logits, state_of(params), i).token];
      for (int i = 0; i < kDraws; ++i) ++by_choice[sampler.sample(logits, state_of(params, i), 17).token];
      for (std::vector<int> counts : {by_position, by_choice}) {
        std::vector<double> expected = expected_counts(logits, params, kDraws);
        for (size_t i = counts.size(); i-- > 0;) {
          if (expected[i] > 0) continue;
          ASSERT_EQ(counts[i], 0);
          counts.erase(counts.begin() + static_cast<ptrdiff_t>(i));
          expected.erase(expected.begin() + static_cast<ptrdiff_t>(i));
        }
        EXPECT_LT(chi_square(counts, expected), chi_square_limit(static_cast<int>(counts.size()) - 1))
            << "seed " << seed;
      }
    }
  }
}

TEST(Draws, OfNeighboursAreIndependent) {
  const std::vector<float> logits{0.4f, 0.0f, -0.3f, 0.7f};
  Sampler sampler({});
  constexpr int kDraws = 40'000;
  const std::vector<double> single = expected_counts(logits, {}, kDraws);
  const auto check = [&](const char* what, const auto& first, const auto& second) {
    std::vector<int> counts(16);
    std::vector<double> expected(16);
    for (int i = 0; i < kDraws; ++i) ++counts[first(i) * 4 + second(i)];
    for (int i = 0; i < 16; ++i) expected[i] = single[i / 4] * single[i % 4] / kDraws;
    EXPECT_LT(chi_square(counts, expected), chi_square_limit(15)) << what;
  };
  const auto draw = [&](uint64_t seed, int position, int choice) {
    return sampler.sample(logits, state_of({.seed = seed}, choice), position).token;
  };
  check(
      "positions", [&](int i) { return draw(5, 2 * i, 0); }, [&](int i) { return draw(5, 2 * i + 1, 0); });
  check(
      "choices", [&](int i) { return draw(5, i, 0); }, [&](int i) { return draw(5, i, 1); });
  check(
      "seeds", [&](int i) { return draw(5, i, 0); }, [&](int i) { return draw(6, i, 0); });
  check(
      "high halves of seeds", [&](int i) { return draw(5, i, 0); },
      [&](int i) { return draw(5 + (uint64_t{1} << 32), i, 0); });
}

TEST(Draws, DependOnSeedPositionChoiceAndCandidatesAlone) {
  std::mt19937 random(4);
  Sampler used({});
  for (int trial = 0; trial < 500; ++trial) {
    std::vector<float> logits = random_logits(random, 50, 1);
    const SamplingParams params{.temperature = 0.8f, .top_k = 10, .seed = random()};
    const int position = static_cast<int>(random() % 1000), choice = static_cast<int>(random() % 3);
    Sampler fresh({});
    const TokenId expected = fresh.sample(logits, state_of(params, choice), position).token;

    used.sample(random_logits(random, 1 + random() % 2000, 3), state_of({.top_p = 0.9f, .seed = random()}), trial);
    ASSERT_EQ(used.sample(logits, state_of(params, choice), position).token, expected) << "after other work";

    const auto left = support(doubles(logits), params);
    const std::set<TokenId> kept(left.begin(), left.end());
    for (size_t i = 0; i < logits.size(); ++i) {
      if (!kept.contains(static_cast<TokenId>(i))) logits[i] -= static_cast<float>(random() % 100);
    }
    logits.resize(logits.size() + random() % 100, -30);
    ASSERT_EQ(used.sample(logits, state_of(params, choice), position).token, expected)
        << "other tokens that are cut off";

    SamplingState later = state_of(params, choice);
    later.params.max_tokens = 1000;
    later.params.num_logprobs = 5;
    later.num_prompt = position;
    ASSERT_EQ(used.sample(logits, later, position).token, expected) << "what does not concern the draw";
  }
}

/// Places where Philox gives the largest and the smallest number there is: token 4 + lane, choice 0.
struct ExtremeDraw {
  uint32_t seed;
  int position;
  TokenId token;
  uint32_t bits;
};
constexpr ExtremeDraw kLargestDraw{.seed = 2158, .position = 328'173, .token = 4, .bits = 0xffffffff};
constexpr ExtremeDraw kSmallestDraw{.seed = 498, .position = 242'759, .token = 5, .bits = 0};

TEST(Pruning, TheLargestNoiseStillWinsAndLosesWhereItShould) {
  for (const ExtremeDraw& draw : {kLargestDraw, kSmallestDraw}) {
    const auto lanes = philox4x32({1, static_cast<uint32_t>(draw.position), 0, 0}, {draw.seed, 0});
    ASSERT_EQ(lanes[draw.token - 4], draw.bits);
  }
  Sampler sampler({});
  const auto [seed, position, token, bits] = kLargestDraw;
  for (TokenId other = 0; other < 4; ++other) {  // four tokens with other noise
    const double lead = noise(seed, token, position, 0) - noise(seed, other, position, 0);
    for (const bool wins : {true, false}) {
      std::vector<float> logits(8, -kInfinity);
      logits[token] = 0;
      logits[other] = static_cast<float>(lead + (wins ? -1e-4 : 1e-4));
      EXPECT_EQ(sampler.sample(logits, state_of({.seed = seed}), position).token, wins ? token : other);
      EXPECT_EQ(sampler.sample(logits, state_of({.top_k = 2, .seed = seed}), position).token, wins ? token : other);
    }
  }
}

TEST(Pruning, TheSmallestNoiseOfTheBestTokenIsNoTrap) {
  Sampler sampler({});
  const auto [seed, position, token, bits] = kSmallestDraw;
  std::vector<float> logits(64, -kInfinity);
  logits[token] = 3;
  EXPECT_EQ(sampler.sample(logits, state_of({.seed = seed}), position).token, token) << "the only one";
  for (TokenId other = 8; other < 64; ++other) {
    logits[other] = -1;
    const TokenId expected = reference_draw(doubles(logits), {.seed = seed}, position, 0);
    EXPECT_EQ(sampler.sample(logits, state_of({.seed = seed}), position).token, expected);
  }
}

TEST(Pruning, NeverChangesTheWinner) {
  std::mt19937 random(5);
  Sampler sampler({});
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<float> logits = random_logits(random, 5000, 0.5f);
    for (float& logit : logits) logit -= static_cast<float>(random() % 30);  // many about as far away as noise reaches
    const SamplingParams params{.temperature = pick(random, {0.5f, 1.f, 1.3f}), .seed = random()};
    ASSERT_EQ(sampler.sample(logits, state_of(params), trial).token, reference_draw(doubles(logits), params, trial, 0));
  }
}

}  // namespace
}  // namespace echelon
