// One replica as rank 0 drives it: its scheduler, when to plan the next micro-batch, and what they take. No clock, no
// transport, one thread: times are told, in seconds of any clock that only goes forward.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "engine/schedule/prompt_pace.h"
#include "engine/schedule/scheduler.h"

namespace echelon {

class Replica {
 public:
  /// itl_target_s: as in PromptPace; 0: none.
  Replica(SchedulerOptions options, int num_stages, double itl_target_s)
      : scheduler_(std::move(options)), num_stages_(num_stages), pace_(itl_target_s) {}

  Scheduler& scheduler() { return scheduler_; }
  const Scheduler& scheduler() const { return scheduler_; }

  /// The next micro-batch, when one is due. Of one stage as late as it can be without keeping the stage waiting: what
  /// arrived meanwhile is in it.
  std::optional<MicroBatch> next(double now_s) {
    scheduler_.set_time(now_s);
    const bool ahead = scheduler_.options().feed_back && scheduler_.num_in_flight() > 0;
    if (ahead && layers_done_ != scheduler_.last_number()) return std::nullopt;
    std::optional<MicroBatch> batch = scheduler_.next();
    if (batch) note_sent(*batch, now_s);
    return batch;
  }

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
    int num_prompt_tokens = 0, num_decodes = 0;
    double time_s = 0;
  };

  void note_sent(const MicroBatch& batch, double now_s) {
    SentPlan plan{.number = batch.number, .time_s = now_s};
    for (const PlanRow& row : batch.rows) {
      const bool decodes = row.num_tokens == 1 && row.sample;
      (decodes ? plan.num_decodes : plan.num_prompt_tokens) += row.num_tokens;
    }
    sent_.push_back(plan);
  }

  /// What a micro-batch took bounds the prompts of the next ones. With one stage its time began with the result before;
  /// with more it is all the time that its sequences waited.
  void note_result(uint64_t number, double now_s) {
    if (sent_.empty() || sent_.front().number != number) return;  // commit() refuses it
    const SentPlan plan = sent_.front();
    sent_.pop_front();
    const double begin_s = num_stages_ == 1 ? std::max(plan.time_s, last_result_s_) : plan.time_s;
    const int num_tokens = plan.num_prompt_tokens + plan.num_decodes;
    const double taken = (now_s - std::max(plan.time_s, last_result_s_)) / num_tokens;
    seconds_per_token_ += (first_ ? 1 : kSlowly) * (taken - seconds_per_token_);
    first_ = false;
    last_result_s_ = now_s;
    pace_.observe(plan.num_prompt_tokens, plan.num_decodes, now_s - begin_s);
    scheduler_.set_prompt_limit(pace_.limit(scheduler_.options().max_batch_tokens));
  }

  Scheduler scheduler_;
  int num_stages_;
  PromptPace pace_;
  uint64_t layers_done_ = 0;
  std::deque<SentPlan> sent_;  ///< without a result
  double last_result_s_ = 0;
  double seconds_per_token_ = 1;
  bool first_ = true;
};

}  // namespace echelon
