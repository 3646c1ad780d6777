#include "launch/top/strip.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace echelon {
namespace {

constexpr int kLabelWidth = 10, kColumnsOfMicroBatch = 6;
constexpr std::array kColours = {Colour::green, Colour::cyan, Colour::yellow, Colour::magenta, Colour::blue};

double begin_age(const TracedMicroBatch& batch) {
  double age = batch.stages.front().begin_age_s;
  for (const TracedMicroBatch::Span& span : batch.stages) age = std::max(age, span.begin_age_s);
  return age;
}

double end_age(const TracedMicroBatch& batch) {
  double age = batch.stages.front().end_age_s;
  for (const TracedMicroBatch::Span& span : batch.stages) age = std::min(age, span.end_age_s);
  return age;
}

/// The last micro-batches of a replica: at most as many as a stage has room for side by side.
std::vector<const TracedMicroBatch*> shown(const Snapshot& snapshot, int replica, int columns) {
  std::vector<const TracedMicroBatch*> batches;
  for (const TracedMicroBatch& batch : snapshot.trace) {
    if (batch.replica == replica) batches.push_back(&batch);
  }
  const size_t most = static_cast<size_t>(std::max(columns / kColumnsOfMicroBatch, 2));
  size_t first = batches.empty() ? 0 : batches.size() - 1;
  double begin = batches.empty() ? 0 : begin_age(*batches[first]), end = batches.empty() ? 0 : end_age(*batches[first]);
  while (first > 0 && batches.size() - first < most) {
    const TracedMicroBatch& earlier = *batches[first - 1];
    if (end_age(earlier) - begin > begin - end) break;
    --first;
    begin = std::max(begin, begin_age(earlier));
    end = std::min(end, end_age(earlier));
  }
  batches.erase(batches.begin(), batches.begin() + static_cast<ptrdiff_t>(first));
  return batches;
}

}  // namespace

void add_strip(std::vector<Line>& lines, const Snapshot& snapshot, int replica, int width) {
  const int columns = std::max(width - kLabelWidth, 1);
  const std::vector<const TracedMicroBatch*> batches = shown(snapshot, replica, columns);
  if (batches.empty()) return;
  double begin = begin_age(*batches.front()), end = end_age(*batches.front());
  for (const TracedMicroBatch* batch : batches) {
    begin = std::max(begin, begin_age(*batch));
    end = std::min(end, end_age(*batch));
  }
  const double column_s = std::max(begin - end, 1e-6) / columns;
  lines.emplace_back();
  lines.push_back(
      Line().add(fmt::format("micro-batches {} to {}{}: {:.1f} ms, {:.1f} s ago", batches.front()->number,
                             batches.back()->number, snapshot.num_dp > 1 ? fmt::format(" of replica {}", replica) : "",
                             1e3 * (begin - end), std::max(end, 0.0)),
                 Colour::bold));
  for (int stage = 0; stage < snapshot.num_pp; ++stage) {
    Line& line = lines.emplace_back();
    line.add(fmt::format("stage {}", stage)).to_column(kLabelWidth);
    for (int column = 0; column < columns; ++column) {
      const double at = begin - (column + 0.5) * column_s;  // the middle of the column, as an age
      const auto found = std::find_if(batches.begin(), batches.end(), [&](const TracedMicroBatch* batch) {
        const TracedMicroBatch::Span& span = batch->stages[static_cast<size_t>(stage)];
        return span.begin_age_s >= at && at > span.end_age_s;
      });
      if (found == batches.end()) {
        line.add(".", Colour::faint);
      } else {
        line.add(fmt::format("{}", (*found)->number % 10), kColours[(*found)->number % kColours.size()]);
      }
    }
  }
}

}  // namespace echelon
