#include "engine/pipeline_monitor.h"

#include <algorithm>

namespace echelon {
namespace {

constexpr size_t kKeptSpans = 2 * kMaxSpans;  ///< of a rank: statuses of two ranks are up to a second apart

constexpr Place kNoPlace{.dp = -1, .pp = -1, .tp = -1};

/// Of what a rank did between two statuses.
StageShares shares_between(const RankMetrics& before, const RankMetrics& after) {
  const double active = after.active_seconds - before.active_seconds, busy = after.busy_seconds - before.busy_seconds;
  if (active <= 0 || busy <= 0) return before.recent;
  StageShares shares;
  shares.busy = std::clamp(busy / active, 0.0, 1.0);
  const double occupied = busy + after.wait.exchange - before.wait.exchange;
  shares.bubble = std::clamp(1 - occupied / active, 0.0, 1.0);
  const StageWork& ceiling = after.ceiling;
  if (ceiling.bytes <= 0) return shares;
  shares.mbu = (after.work.bytes - before.work.bytes) / ceiling.bytes / busy;
  double least = 0;  // seconds that the operations take at the ceiling
  for (size_t kind = 0; kind < ceiling.operations.size(); ++kind) {
    if (ceiling.operations[kind] > 0)
      least += (after.work.operations[kind] - before.work.operations[kind]) / ceiling.operations[kind];
  }
  shares.mfu = least / busy;
  return shares;
}

}  // namespace

PipelineMonitor::PipelineMonitor(int num_replicas, int num_ranks)
    : places_(static_cast<size_t>(num_ranks), kNoPlace),
      replicas_(static_cast<size_t>(num_replicas)),
      ranks_(static_cast<size_t>(num_ranks)),
      serving_since_(ranks_.size(), -1),
      spans_(ranks_.size()),
      teams_(replicas_.size()) {}

void PipelineMonitor::set_team(int replica, const std::vector<int>& ranks, int tp) {
  const std::lock_guard lock(mutex_);
  for (Place& place : places_) {
    if (place.dp == replica) place = kNoPlace;
  }
  for (size_t i = 0; i < ranks.size(); ++i) {
    const auto rank = static_cast<size_t>(ranks[i]);
    const int index = static_cast<int>(i);
    places_.at(rank) = {.dp = replica, .pp = index / tp, .tp = index % tp};
    spans_[rank] = {};
  }
  teams_.at(static_cast<size_t>(replica)) = {.ranks = ranks, .tp = tp};
}

std::vector<RankMetrics> PipelineMonitor::ranks() const {
  std::vector<RankMetrics> serving;
  for (size_t rank = 0; rank < ranks_.size(); ++rank) {
    if (serves(static_cast<int>(rank))) serving.push_back(ranks_[rank]);
  }
  return serving;
}

void PipelineMonitor::note_in_flight(int replica, int count, double now_s) {
  ReplicaWork& work = replicas_.at(static_cast<size_t>(replica));
  if (work.in_flight == 0 && count > 0) work.active_since = now_s;
  if (work.in_flight > 0 && count == 0) work.active_seconds += now_s - work.active_since;
  work.in_flight = count;
}

void PipelineMonitor::note_status(int rank, const RankStatus& status, double now_s) {
  RankMetrics& metrics = ranks_.at(static_cast<size_t>(rank));
  const RankMetrics before = std::exchange(metrics, status.metrics);
  const Place place = places_[static_cast<size_t>(rank)];
  metrics.rank = rank;
  metrics.dp = place.dp;
  metrics.pp = place.pp;
  metrics.tp = place.tp;
  if (status.phase < RankPhase::ready || !serves(rank)) return;
  double& since = serving_since_[static_cast<size_t>(rank)];
  if (since < 0) since = now_s;
  metrics.active_seconds = replicas_[static_cast<size_t>(place.dp)].until(now_s);
  metrics.idle_seconds = std::max(now_s - since - metrics.active_seconds, before.idle_seconds);
  // The rank cannot tell a late plan from nothing to do; a counter never goes back.
  metrics.wait.plan = std::max(status.metrics.wait.plan - metrics.idle_seconds, before.wait.plan);
  metrics.recent = shares_between(before, metrics);
  keep_spans(rank, status, now_s);
}

void PipelineMonitor::keep_spans(int rank, const RankStatus& status, double now_s) {
  if (status.spans.empty()) return;
  const std::lock_guard lock(mutex_);
  Spans& kept = spans_[static_cast<size_t>(rank)];
  if (kept.end() != status.first_span) kept = {.first = status.first_span, .spans = {}};
  for (const SpanAge& span : status.spans) {
    kept.spans.push_back({.rows = static_cast<int>(std::min<uint32_t>(span.rows, INT32_MAX)),
                          .begin_s = now_s - 1e-6 * span.begin_us,
                          .end_s = now_s - 1e-6 * span.end_us});
  }
  while (kept.spans.size() > kKeptSpans) {
    kept.spans.pop_front();
    ++kept.first;
  }
}

uint64_t PipelineMonitor::num_in_flight() const {
  uint64_t total = 0;
  for (const ReplicaWork& work : replicas_) total += static_cast<uint64_t>(work.in_flight);
  return total;
}

double PipelineMonitor::bubble_share() const {
  double occupied = 0, active = 0;
  for (const RankMetrics& rank : ranks_) {
    occupied += rank.busy_seconds + rank.wait.exchange;
    active += rank.active_seconds;
  }
  return active > 0 ? std::clamp(1 - occupied / active, 0.0, 1.0) : 0;
}

int PipelineMonitor::slowest_rank() const {
  const auto slowest = std::max_element(ranks_.begin(), ranks_.end(), [](const RankMetrics& a, const RankMetrics& b) {
    return a.recent.busy < b.recent.busy;
  });
  return slowest != ranks_.end() && slowest->recent.busy >= 0 ? static_cast<int>(slowest - ranks_.begin()) : -1;
}

std::vector<TracedMicroBatch> PipelineMonitor::trace(double now_s) const {
  const std::lock_guard lock(mutex_);
  std::vector<TracedMicroBatch> traced;
  for (size_t replica = 0; replica < teams_.size(); ++replica) {
    const std::vector<int>& ranks = teams_[replica].ranks;
    if (ranks.empty()) continue;
    const auto tp = static_cast<size_t>(teams_[replica].tp);
    const size_t num_stages = ranks.size() / tp;
    uint64_t first = 0, end = UINT64_MAX;  // what all of them have
    for (const int rank : ranks) {
      first = std::max(first, spans_[static_cast<size_t>(rank)].first);
      end = std::min(end, spans_[static_cast<size_t>(rank)].end());
    }
    if (first >= end) continue;
    for (uint64_t number = std::max(first, end - std::min(end, kTracedMicroBatches)); number < end; ++number) {
      TracedMicroBatch& batch = traced.emplace_back();
      batch.replica = static_cast<int>(replica);
      batch.number = number;
      batch.stages.resize(num_stages);
      std::vector<bool> seen(num_stages);
      for (size_t i = 0; i < ranks.size(); ++i) {
        const Spans& kept = spans_[static_cast<size_t>(ranks[i])];
        const Span& span = kept.spans[number - kept.first];
        const size_t stage = i / tp;
        TracedMicroBatch::Span& whole = batch.stages[stage];  // from its first part to its last
        const double begin_age = now_s - span.begin_s, end_age = now_s - span.end_s;
        whole.begin_age_s = seen[stage] ? std::max(whole.begin_age_s, begin_age) : begin_age;
        whole.end_age_s = seen[stage] ? std::min(whole.end_age_s, end_age) : end_age;
        seen[stage] = true;
        batch.rows = span.rows;
      }
    }
  }
  return traced;
}

}  // namespace echelon
