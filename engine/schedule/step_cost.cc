#include "engine/schedule/step_cost.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <tuple>

namespace echelon {
namespace {

constexpr size_t kMostGroups = 48;
constexpr int kMostCount = 8;        ///< a group's mean follows its last observations
constexpr double kMostGrowth = 2;    ///< of a group's mean that one observation may bring
constexpr double kHalfLife = 256;    ///< observations after which a group counts half
constexpr uint64_t kFitEvery = 8;    ///< observations, once some have been made
constexpr uint64_t kFitAlways = 32;  ///< so many at first
/// Where observations do not tell one price from another: a micro-batch costs as much as so many prompt tokens, and a
/// decode as much as one. Weighs little against any observation that does.
constexpr double kFixedInTokens = 32, kPriorWeight = 1e-3;

constexpr double kSingular = 1e-9;  ///< of a diagonal, what is left of it that is only rounding

enum Term { fixed, decode, decode_key, prompt_token, prompt_key };

uint32_t magnitude(double value) { return static_cast<uint32_t>(std::bit_width(static_cast<uint64_t>(value))); }

/// The x with matrix * x = right, by Gauss; 0 where a row is not used, or says nothing that others do not.
template <typename Terms>
Terms solve(std::array<Terms, std::tuple_size_v<Terms>> matrix, Terms right,
            const std::array<bool, std::tuple_size_v<Terms>>& used) {
  constexpr size_t kSize = std::tuple_size_v<Terms>;
  Terms diagonal{}, x{};
  for (size_t i = 0; i < kSize; ++i) diagonal[i] = matrix[i][i];
  std::array<bool, kSize> open = used;
  for (size_t i = 0; i < kSize; ++i) {
    if (open[i] && matrix[i][i] <= kSingular * diagonal[i]) open[i] = false;
    if (!open[i]) continue;
    for (size_t row = 0; row < kSize; ++row) {
      if (row == i || !used[row]) continue;
      const double factor = matrix[row][i] / matrix[i][i];
      for (size_t j = 0; j < kSize; ++j) matrix[row][j] -= factor * matrix[i][j];
      right[row] -= factor * right[i];
    }
  }
  for (size_t i = 0; i < kSize; ++i) x[i] = open[i] ? right[i] / matrix[i][i] : 0;
  return x;
}

}  // namespace

StepCost::Terms StepCost::terms_of(const StepShape& shape) {
  return {1, static_cast<double>(shape.decodes), shape.decode_keys, static_cast<double>(shape.prompt_tokens),
          shape.prompt_keys};
}

double StepCost::seconds(const StepShape& shape) const {
  const Terms terms = terms_of(shape);
  double total = 0;
  for (int i = 0; i < kNumTerms; ++i) total += prices_[i] * terms[i];
  return total;
}

double StepCost::prompt_seconds(int first_position, int num_tokens) const {
  StepShape shape;
  shape.add_prompt(first_position, num_tokens);
  return prices_[prompt_token] * shape.prompt_tokens + prices_[prompt_key] * shape.prompt_keys;
}

int StepCost::prompt_tokens_within(double seconds, int first_position, int most) const {
  if (seconds <= 0) return 0;
  // n tokens add n * linear + n * n * square.
  const double square = prices_[prompt_key] / 2;
  const double linear = prices_[prompt_token] + prices_[prompt_key] * (first_position + 0.5);
  const double tokens = 2 * seconds / (linear + std::sqrt(linear * linear + 4 * square * seconds));
  return tokens < most ? static_cast<int>(tokens) : most;  // also where tokens cost nothing
}

/// Of all the groups the one longest not seen gives way to a new one.
StepCost::Group& StepCost::group_of(const StepShape& shape) {
  const uint32_t key = magnitude(shape.decodes) | magnitude(shape.prompt_tokens) << 8 |
                       magnitude(shape.decode_keys / std::max(shape.decodes, 1)) << 16 |
                       magnitude(shape.prompt_keys / std::max(shape.prompt_tokens, 1)) << 24;
  const auto found = std::find_if(groups_.begin(), groups_.end(), [&](const Group& g) { return g.key == key; });
  if (found != groups_.end()) return *found;
  if (groups_.size() < kMostGroups) return groups_.emplace_back(Group{.key = key});
  auto oldest =
      std::min_element(groups_.begin(), groups_.end(), [](const Group& a, const Group& b) { return a.last < b.last; });
  *oldest = Group{.key = key};
  return *oldest;
}

void StepCost::observe(const StepShape& shape, double seconds) {
  if (!(seconds > 0) || !std::isfinite(seconds)) return;
  Group& group = group_of(shape);
  if (group.count > 0) seconds = std::min(seconds, kMostGrowth * group.seconds);
  group.count = std::min(group.count + 1, kMostCount);
  group.last = ++num_observed_;
  const Terms terms = terms_of(shape);
  for (int i = 0; i < kNumTerms; ++i) group.terms[i] += (terms[i] - group.terms[i]) / group.count;
  group.seconds += (seconds - group.seconds) / group.count;
  most_prompt_tokens_ = std::max(most_prompt_tokens_, shape.prompt_tokens);
  if (num_observed_ < next_fit_) return;
  fit();
  next_fit_ = num_observed_ + (num_observed_ < kFitAlways ? 1 : kFitEvery);
}

/// Least squares of relative errors, with prices that are not negative: the most negative one is left out, until none
/// is.
void StepCost::fit() {
  std::array<Terms, kNumTerms> gram{};
  Terms right{};
  for (const Group& group : groups_) {
    const double weight = group.count * std::exp2(-static_cast<double>(num_observed_ - group.last) / kHalfLife);
    Terms relative = group.terms;
    for (double& term : relative) term /= group.seconds;
    for (int i = 0; i < kNumTerms; ++i) {
      right[i] += weight * relative[i];
      for (int j = 0; j < kNumTerms; ++j) gram[i][j] += weight * relative[i] * relative[j];
    }
  }
  const double prior = kPriorWeight * gram[fixed][fixed];
  const auto add_prior = [&](int i, int j, double ratio) {  // (price i - ratio * price j)^2
    gram[i][i] += prior;
    gram[j][j] += prior * ratio * ratio;
    gram[i][j] -= prior * ratio;
    gram[j][i] -= prior * ratio;
  };
  add_prior(fixed, prompt_token, kFixedInTokens);
  add_prior(decode, prompt_token, 1);
  for (const int key : {decode_key, prompt_key}) gram[key][key] *= 1 + kPriorWeight;
  std::array<bool, kNumTerms> used{};
  for (int i = 0; i < kNumTerms; ++i) used[i] = gram[i][i] > 0;
  while (true) {
    prices_ = solve(gram, right, used);
    const auto least = std::min_element(prices_.begin(), prices_.end());
    if (*least >= 0) return;
    used[static_cast<size_t>(least - prices_.begin())] = false;
  }
}

}  // namespace echelon
