// Argument reduction by constants split into parts whose products are exact, then Taylor series: every coefficient is a
// factorial or an odd integer, and the ranges are small enough that the series end below half a unit in the last place.
#include "kernels/base/math.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/base/check.h"

namespace echelon::math {
namespace {

constexpr double kLn2High = 0x1.62e42fef00000p-1, kLn2Low = 0x1.473de6af278edp-34;  // 33 bits and the rest
// pi / 2 in 33 + 33 bits and the rest: products with integers below 2^20 are exact
constexpr double kHalfPi1 = 0x1.921fb54400000p+0, kHalfPi2 = 0x1.0b4611a600000p-34, kHalfPi3 = 0x1.3198a2e037073p-69;
constexpr double kSmallestNormal = std::numeric_limits<double>::min();

/// Adding and subtracting it rounds |x| < 2^51 to the nearest integer, ties to even.
constexpr double kRounder = 0x1.8p52;
double nearest(double x) { return (x + kRounder) - kRounder; }

double power_of_two(int64_t n) { return std::bit_cast<double>(static_cast<uint64_t>(n + 1023) << 52); }  // -1022..1023

}  // namespace

double log(double x) {
  if (!(x >= 0)) return std::numeric_limits<double>::quiet_NaN();
  if (x < kSmallestNormal) return -std::numeric_limits<double>::infinity();
  if (x > std::numeric_limits<double>::max()) return x;
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int64_t exponent = static_cast<int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0x000fffffffffffffu) | 0x3ff0000000000000u);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  // log m = 2 atanh s = f - s (f - 2 (s^2/3 + s^4/5 + ...)), f = m - 1 exact, |s| <= 0.1716
  const double f = m - 1.0, s = f / (2.0 + f), z = s * s;
  double series = 0;
  for (int k = 23; k >= 3; k -= 2) series = (series + 1.0 / k) * z;
  const double k = static_cast<double>(exponent);
  return k * kLn2High + (f - (s * (f - 2.0 * series) - k * kLn2Low));
}

double exp(double x) {
  if (std::isnan(x)) return x;
  if (x > 709.79) return std::numeric_limits<double>::infinity();
  if (x < -700.0) return 0;
  const double n = nearest(x * 1.4426950408889634);
  const double high = x - n * kLn2High, low = n * kLn2Low, r = high - low;
  double series = 0;  // (e^r - 1 - r) / r^2 = 1/2 (1 + r/3 (1 + r/4 (...)))
  for (int k = 14; k >= 3; --k) series = (series + 1.0) * r / k;
  const double square = r * r;
  // e^r = 1 + (high + (r^2/2 (1 + series) - low)): the largest rounding is the last
  const double value = 1.0 + (high + (0.5 * square * (1.0 + series) - low));
  const int64_t whole = static_cast<int64_t>(n);
  return value * power_of_two(whole - 1) * 2.0;
}

double pow(double x, double y) { return exp(y * log(x)); }

SinCos sin_cos(double x) {
  ECHELON_CHECK(x >= -kMaxAngle && x <= kMaxAngle, "angle {}", x);
  const double n = nearest(x * 0.6366197723675814);
  const double r = ((x - n * kHalfPi1) - n * kHalfPi2) - n * kHalfPi3;  // |r| <= pi / 4
  const double z = r * r;
  double sin = 1.0, cos = 1.0;
  for (int k = 18; k >= 2; k -= 2) {
    sin = 1.0 - z * sin * (1.0 / static_cast<double>(k * (k + 1)));
    cos = 1.0 - z * cos * (1.0 / static_cast<double>(k * (k - 1)));
  }
  sin *= r;
  switch (static_cast<int64_t>(n) & 3) {
    case 0:
      return {.sin = sin, .cos = cos};
    case 1:
      return {.sin = cos, .cos = -sin};
    case 2:
      return {.sin = -sin, .cos = -cos};
    default:
      return {.sin = -cos, .cos = sin};
  }
}

}  // namespace echelon::math
