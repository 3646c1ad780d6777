// Kernels over logits against plain double-precision ones, on every instruction set of this machine: odd lengths, equal
// bits, NaN and infinities, and a filter that never loses a winner.
#include "kernels/logits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "engine/sample/philox.h"
#include "kernels/cpu/cpu_isa.h"
#include "kernels/cpu/float_environment.h"

namespace echelon {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> random_logits(std::mt19937& random, size_t n, float spread) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(n);
  for (float& logit : logits) logit = normal(random);
  if (random() % 3 == 0) {
    for (int i = 0; i < 5; ++i) {
      const float odd[] = {-kInfinity, std::numeric_limits<float>::quiet_NaN(), -3e38f, 1e-40f};
      logits[random() % n] = odd[random() % 4];
    }
  }
  return logits;
}

GumbelDraw random_draw(std::mt19937& random, float most) {
  const auto number = [&] { return static_cast<uint32_t>(random()); };
  return {.key = {number(), number()}, .position = number(), .choice = number() % 3, .most = most};
}

float largest(const std::vector<float>& logits) {
  float most = -kInfinity;
  for (const float logit : logits) most = logit > most ? logit : most;
  return most;
}

TEST(LogitKernels, MaximaAndWeightsAreThoseOfPlainLoops) {
  std::mt19937 random(1);
  const cpu::FloatEnvironment environment;
  for (const CpuIsa isa : cpu::available_isas()) {
    const LogitKernels& kernels = logit_kernels(isa);
    for (int trial = 0; trial < 300; ++trial) {
      const std::vector<float> logits = random_logits(random, 1 + random() % 700, trial % 2 == 0 ? 1.0f : 30.0f);
      const auto n = static_cast<int64_t>(logits.size());
      const float most = largest(logits), factor = trial % 3 == 0 ? 1.0f : 0.1f + static_cast<float>(random() % 40);
      if (!std::isfinite(most)) continue;
      std::vector<float> maxima((logits.size() + kLogitBlock - 1) / kLogitBlock), weights(logits.size());
      kernels.block_maxima(logits.data(), n, maxima.data());
      for (size_t b = 0; b < maxima.size(); ++b) {
        const auto end = std::min(logits.size(), (b + 1) * kLogitBlock);
        ASSERT_EQ(maxima[b], largest({logits.begin() + static_cast<ptrdiff_t>(b * kLogitBlock),
                                      logits.begin() + static_cast<ptrdiff_t>(end)}));
      }
      kernels.weights(logits.data(), n, most, factor, weights.data());
      double sum = 0;
      for (size_t i = 0; i < logits.size(); ++i) {
        const double exponent = (double{logits[i]} - most) * factor;
        if (!(exponent >= -87.3)) {
          ASSERT_LT(weights[i], 2e-38) << logits[i];
          continue;
        }
        const double expected = std::exp(exponent);
        // Two roundings of the exponent, and the exp's own.
        ASSERT_NEAR(weights[i], expected, expected * (2e-7 + 1.3e-7 * std::abs(exponent)) + 2e-38) << exponent;
        sum += expected;
      }
      EXPECT_NEAR(kernels.sum_weights(logits.data(), n, most, factor), sum, 2e-6 * sum);
    }
  }
}

TEST(LogitKernels, EveryInstructionSetGivesTheSameBits) {
  std::mt19937 random(2);
  const cpu::FloatEnvironment environment;
  const LogitKernels& portable = logit_kernels(CpuIsa::portable);
  for (const CpuIsa isa : cpu::available_isas()) {
    const LogitKernels& kernels = logit_kernels(isa);
    for (int trial = 0; trial < 200; ++trial) {
      const std::vector<float> logits = random_logits(random, 1 + random() % 700, 4.0f);
      const auto n = static_cast<int64_t>(logits.size());
      const float most = largest(logits), factor = 0.5f + static_cast<float>(random() % 8);
      std::vector<float> a(logits.size()), b(logits.size());
      kernels.weights(logits.data(), n, most, factor, a.data());
      portable.weights(logits.data(), n, most, factor, b.data());
      for (size_t i = 0; i < a.size(); ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(a[i]), std::bit_cast<uint32_t>(b[i])) << logits[i];
      }
      ASSERT_EQ(std::bit_cast<uint64_t>(kernels.sum_weights(logits.data(), n, most, factor)),
                std::bit_cast<uint64_t>(portable.sum_weights(logits.data(), n, most, factor)));
      GumbelDraw draw = random_draw(random, most);
      draw.factor = factor;
      draw.lead = static_cast<float>(random() % 100) * -0.1f;
      const int count = static_cast<int>(std::min<int64_t>(n, kLogitBlock));
      const uint32_t first = static_cast<uint32_t>(random() % 1000) * kLogitBlock;
      ASSERT_EQ(kernels.may_win(logits.data(), count, first, draw),
                portable.may_win(logits.data(), count, first, draw));
    }
  }
}

TEST(LogitKernels, NoTokenThatWinsIsLostAndFewOthersPass) {
  std::mt19937 random(3);
  const cpu::FloatEnvironment environment;
  for (const CpuIsa isa : cpu::available_isas()) {
    const LogitKernels& kernels = logit_kernels(isa);
    int64_t winners = 0, passed = 0;
    for (int trial = 0; trial < 4000; ++trial) {
      const std::vector<float> logits = random_logits(random, kLogitBlock, trial % 2 == 0 ? 0.5f : 3.0f);
      const float most = largest(logits);
      const double temperature = trial % 5 == 0 ? 0.3 : 1.0;
      const double wanted = most / temperature + static_cast<double>(random() % 120) * 0.05 - 2;
      GumbelDraw draw = random_draw(random, most);
      draw.factor = static_cast<float>(1 / temperature);
      draw.lead = static_cast<float>(most / temperature - wanted + 1e-3);
      const uint32_t first = static_cast<uint32_t>(random() % 4096) * kLogitBlock;
      const uint64_t mask = kernels.may_win(logits.data(), kLogitBlock, first, draw);
      for (uint32_t i = 0; i < kLogitBlock; ++i) {
        const auto bits = philox4x32({(first + i) / 4, draw.position, draw.choice, 0}, {draw.key[0], draw.key[1]});
        const double u = (static_cast<double>(bits[(first + i) % 4]) + 0.5) * 0x1p-32;
        const bool wins = logits[i] / temperature - std::log(-std::log(u)) >= wanted;
        const bool may = (mask >> i & 1) != 0;
        ASSERT_TRUE(may || !wins) << "trial " << trial << ", token " << i;
        winners += wins;
        passed += may;
      }
    }
    EXPECT_GT(winners, 5000);
    EXPECT_LT(passed, 2 * winners);
  }
}

}  // namespace
}  // namespace echelon
