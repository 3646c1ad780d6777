// Our own double-precision functions keep to the errors their header states, measured against the 80-bit library.
#include "kernels/base/math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "kernels/cpu/float_environment.h"

namespace echelon::math {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double relative_error(double value, long double exact) {
  return static_cast<double>(std::fabs((value - exact) / exact));
}

class MathTest : public testing::Test {
 protected:
  double uniform(double low, double high) { return std::uniform_real_distribution<double>(low, high)(generator_); }
  std::mt19937_64 generator_{7};
};

TEST_F(MathTest, LogKeepsItsError) {
  double worst = 0;
  for (int i = 0; i < 200000; ++i) {
    const double spread = i % 3 == 0 ? 700 : i % 3 == 1 ? 1 : 1e-3;
    const double x = std::exp(uniform(-spread, spread));
    if (x != 1.0) worst = std::max(worst, relative_error(log(x), std::log(static_cast<long double>(x))));
  }
  EXPECT_LT(worst, 4e-16);
  RecordProperty("worst", std::to_string(worst * 1e16) + "e-16");
  EXPECT_EQ(log(1.0), 0.0);
  EXPECT_EQ(log(0.0), -kInfinity);
  EXPECT_EQ(log(5e-324), -kInfinity);
  EXPECT_EQ(log(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(log(-1.0)));
  EXPECT_TRUE(std::isnan(log(std::nan(""))));
}

TEST_F(MathTest, ExpKeepsItsErrorAndItsLimits) {
  double worst = 0;
  for (int i = 0; i < 200000; ++i) {
    const double x = i % 2 == 0 ? uniform(-700, 709.7) : uniform(-1, 1);
    worst = std::max(worst, relative_error(exp(x), std::exp(static_cast<long double>(x))));
  }
  EXPECT_LT(worst, 4e-16);
  EXPECT_EQ(exp(0.0), 1.0);
  EXPECT_EQ(exp(709.79), kInfinity);
  EXPECT_EQ(exp(kInfinity), kInfinity);
  EXPECT_EQ(exp(-700.1), 0.0);
  EXPECT_EQ(exp(-kInfinity), 0.0);
  EXPECT_TRUE(std::isnan(exp(std::nan(""))));
}

TEST_F(MathTest, SinAndCosKeepTheirErrorUpToTheLargestAngle) {
  double worst = 0;
  for (int i = 0; i < 200000; ++i) {
    const double limit = i % 3 == 0 ? kMaxAngle : i % 3 == 1 ? 10 : 0.8;
    const double x = uniform(-limit, limit);
    const SinCos result = sin_cos(x);
    worst = std::max(worst, static_cast<double>(std::fabs(result.sin - std::sin(static_cast<long double>(x)))));
    worst = std::max(worst, static_cast<double>(std::fabs(result.cos - std::cos(static_cast<long double>(x)))));
  }
  EXPECT_LT(worst, 3e-16);
  EXPECT_EQ(sin_cos(0).sin, 0.0);
  EXPECT_EQ(sin_cos(0).cos, 1.0);
  EXPECT_DEATH(sin_cos(kMaxAngle * 1.01), "angle");
}

TEST_F(MathTest, PowKeepsItsError) {
  for (int i = 0; i < 100000; ++i) {
    const double x = std::exp(uniform(-14, 14)), y = uniform(-4, 4);
    const long double exact = std::pow(static_cast<long double>(x), static_cast<long double>(y));
    const double bound = 4e-16 * (2 + std::fabs(y * std::log(x)));
    ASSERT_LT(relative_error(pow(x, y), exact), bound) << x << " ^ " << y;
  }
  EXPECT_EQ(pow(10000.0, 0.0), 1.0);
  EXPECT_EQ(pow(0.0, 2.0), 0.0);
}

/// Frozen: tables and samples depend on these bits.
TEST_F(MathTest, BitsDependNeitherOnTheModeNorOnTheDay) {
  const auto digest = [] {
    uint64_t hash = 14695981039346656037u;
    const auto mix = [&](double value) { hash = (hash ^ std::bit_cast<uint64_t>(value)) * 1099511628211u; };
    for (int i = 1; i <= 2000; ++i) {
      mix(log(i * 0.37));
      mix(exp((i - 1000) * 0.702));
      mix(pow(10000.0, -i / 500.0));
      mix(sin_cos(i * 700.1).sin);
      mix(sin_cos(i * 0.001).cos);
    }
    return hash;
  };
  const uint64_t plain = digest();
  const cpu::FloatEnvironment flushing;
  EXPECT_EQ(digest(), plain);
  EXPECT_EQ(plain, 9526419057975976917u);
}

}  // namespace
}  // namespace echelon::math
