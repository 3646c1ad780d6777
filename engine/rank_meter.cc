#include "engine/rank_meter.h"

#include <algorithm>

#include "engine/host_memory.h"
#include "engine/planner/host_ceiling.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

constexpr uint64_t kFreeForCeiling = 4;  ///< times what it takes
constexpr int kNumPasses = 3;            ///< over all ceilings

/// The plan as the cost model counts it. Rows of prompts whose log-probabilities are wanted need logits, too.
void count_rows(const MicroBatch& batch, std::vector<RowGroup>& groups) {
  groups.clear();
  for (const PlanRow& row : batch.rows) {
    groups.push_back({.num_rows = row.num_tokens, .first_position = row.first_position, .sampled = row.sample});
    if (row.num_targets > 0) groups.push_back({.count = row.num_targets, .num_rows = 0});
  }
}

uint32_t age_us(StageTime now, StageTime then) {
  const double us = std::clamp(seconds_between(then, now) * 1e6, 0.0, static_cast<double>(UINT32_MAX));
  return static_cast<uint32_t>(us);
}

}  // namespace

void RankMeter::note_ran(const MicroBatch& batch) {
  if (spans_.size() == kMaxSpans) spans_.pop_front();
  spans_.push_back(clock_.last);
  if (!profile_) return;
  count_rows(batch, rows_);
  const StageWork work = stage_work(*profile_, rows_);
  work_.bytes += work.bytes;
  for (size_t kind = 0; kind < work.operations.size(); ++kind) work_.operations[kind] += work.operations[kind];
}

bool RankMeter::wants_to_measure() const {
  if (!may_measure_ || !measurement_) return may_measure_;
  const int passes = measurement_->num_steps_done() / CeilingMeasurement::kNumSteps;
  return passes == 0 || (passes < kNumPasses && clock_.busy_seconds > 0);
}

void RankMeter::measure_ceiling(const EngineOptions& options, int ranks_on_host) {
  if (!measurement_) measurement_.emplace(options.isa, options.num_threads);
  const uint64_t needed = CeilingMeasurement::bytes_needed(options.num_threads) * kFreeForCeiling;
  may_measure_ = available_host_bytes() / static_cast<uint64_t>(std::max(ranks_on_host, 1)) >= needed;
  if (!may_measure_) {
    log::info("too little memory is free to measure what it reaches: no MFU and MBU of this rank");
    return;
  }
  measurement_->step();
  if (!has_ceiling()) return;
  const Ceiling& best = measurement_->best();
  ceiling_.bytes = best.bytes_per_s;
  for (size_t kind = 0; kind < best.products.size(); ++kind) ceiling_.operations[kind] = best.products[kind].most();
  ceiling_.operations.back() = best.attention;
}

void RankMeter::report(RankStatus& status) {
  RankMetrics& metrics = status.metrics;
  metrics.busy_seconds = clock_.busy_seconds;
  metrics.sampling_seconds = clock_.sampling_seconds;
  metrics.wait = clock_.wait;
  metrics.work = work_;
  metrics.ceiling = ceiling_;
  status.first_span = spans_.empty() ? 0 : spans_.front().number;
  status.spans.clear();
  const StageTime now = StageTime::clock::now();
  for (const StageSpan& span : spans_) {
    status.spans.push_back({.rows = static_cast<uint32_t>(span.rows),
                            .begin_us = age_us(now, span.begin),
                            .end_us = age_us(now, span.end)});
  }
  spans_.clear();
}

}  // namespace echelon
