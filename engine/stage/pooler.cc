#include "engine/stage/pooler.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/schedule/wire.h"
#include "kernels/cpu/float_environment.h"

namespace echelon {

std::vector<float> Pooler::take(const PlanRow& row, int first_row) {
  if (!row.sum) {
    if (!row.pool) return {};
    const int last = first_row + row.num_tokens - 1;
    const std::span<const float> hidden = layers_.final_hidden(std::span(&last, 1));
    return {hidden.begin(), hidden.end()};
  }
  Sum& sum = sums_.at(static_cast<size_t>(row.slot));
  add(row, first_row, sum);
  if (!row.pool) return {};
  const Sum whole = std::exchange(sum, {});
  const cpu::FloatEnvironment environment;
  std::vector<float> mean(whole.values.size());
  std::transform(whole.values.begin(), whole.values.end(), mean.begin(),
                 [&](double value) { return static_cast<float>(value / whole.count); });
  return mean;
}

void Pooler::add(const PlanRow& row, int first_row, Sum& sum) {
  if (row.first_position == 0) sum = {.generation = row.generation};
  if (sum.generation != row.generation || sum.count != row.first_position)
    throw WireError(fmt::format("plan adds up slot {} from position {}, and not from what is before", row.slot,
                                row.first_position));
  const cpu::FloatEnvironment environment;
  std::vector<int> rows;
  for (int done = 0; done < row.num_tokens; done += static_cast<int>(rows.size())) {
    rows.resize(static_cast<size_t>(std::min(kLogitRows, row.num_tokens - done)));
    std::iota(rows.begin(), rows.end(), first_row + done);
    const std::span<const float> hidden = layers_.final_hidden(rows);
    const size_t width = hidden.size() / rows.size();
    sum.values.resize(width);
    for (size_t at = 0; at < hidden.size(); at += width) {
      for (size_t i = 0; i < width; ++i) sum.values[i] += static_cast<double>(hidden[at + i]);
    }
  }
  sum.count += row.num_tokens;
}

}  // namespace echelon
