// One replica as rank 0 drives it: its scheduler, when to plan the next micro-batch, and what they take. No clock, no
// transport, one thread: times are told, in seconds of any clock that only goes forward.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "engine/engine_options.h"
#include "engine/schedule/scheduler.h"

namespace echelon {

/// Of a replica with so many stages, every rank of which holds num_blocks; the model's end tokens and vocabulary are
/// left to whoever has one.
inline SchedulerOptions scheduler_options(const EngineOptions& options, int num_stages, int64_t num_blocks) {
  const int depth = micro_batches_in_flight(options, num_stages);
  return {.num_blocks = static_cast<int>(std::min<int64_t>(num_blocks, INT32_MAX)),
          .max_num_seqs = options.max_num_seqs,
          .max_batch_tokens = options.max_batch_tokens,
          .depth = depth,
          .feed_back = num_stages == 1 && depth > 1,
          .prefix_cache = options.prefix_cache,
          .itl_target_s = options.itl_target_ms * 1e-3,
          .prefix_ttl_s = static_cast<double>(options.prefix_cache_ttl_s),
          .batching = options.batching,
          .end_tokens = {}};
}

class Replica {
 public:
  explicit Replica(SchedulerOptions options) : scheduler_(std::move(options)) {}

  Scheduler& scheduler() { return scheduler_; }
  const Scheduler& scheduler() const { return scheduler_; }

  /// The next micro-batch, when one is due. Of one stage as late as it can be without keeping the stage waiting: what
  /// arrived meanwhile is in it.
  std::optional<MicroBatch> next(double now_s) {
    scheduler_.set_time(now_s);
    const bool ahead = scheduler_.options().feed_back && scheduler_.num_in_flight() > 0;
    if (ahead && layers_done_ != scheduler_.last_number()) return std::nullopt;
    std::optional<MicroBatch> batch = scheduler_.next();
    if (batch) sent_.push_back({.number = batch->number, .num_tokens = batch->tokens.size(), .time_s = now_s});
    return batch;
  }

  /// Since when the oldest micro-batch in flight is the one whose result is waited for; nothing is: infinity.
  double waiting_since_s() const {
    return sent_.empty() ? std::numeric_limits<double>::infinity() : std::max(sent_.front().time_s, last_result_s_);
  }
  uint64_t oldest_in_flight() const { return sent_.empty() ? 0 : sent_.front().number; }

  /// What a token takes, of all kinds and on average over the last micro-batches; 1 before the first.
  double seconds_per_token() const { return seconds_per_token_; }

  /// The layers of this micro-batch have run; it is being sampled.
  void note_layers_done(uint64_t number) { layers_done_ = number; }

  /// As Scheduler::commit.
  std::vector<SequenceUpdate> commit(const StepResult& result, double now_s) {
    note_result(result.number, now_s);
    return scheduler_.commit(result);
  }

 private:
  static constexpr double kSlowly = 0.05;
  struct SentPlan {
    uint64_t number = 0;
    size_t num_tokens = 0;
    double time_s = 0;
  };

  void note_result(uint64_t number, double now_s) {
    if (sent_.empty() || sent_.front().number != number) return;  // commit() refuses it
    const SentPlan plan = sent_.front();
    sent_.pop_front();
    const double taken_s = now_s - std::max(plan.time_s, last_result_s_);
    seconds_per_token_ +=
        (first_ ? 1 : kSlowly) * (taken_s / static_cast<double>(plan.num_tokens) - seconds_per_token_);
    first_ = false;
    last_result_s_ = now_s;
  }

  Scheduler scheduler_;
  uint64_t layers_done_ = 0;
  std::deque<SentPlan> sent_;  ///< without a result
  double last_result_s_ = 0;
  double seconds_per_token_ = 1;
  bool first_ = true;
};

}  // namespace echelon
