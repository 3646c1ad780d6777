#include "engine/planner/simulate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <unordered_map>

#include "engine/planner/replica_cost.h"
#include "engine/schedule/placement.h"
#include "engine/schedule/replica.h"
#include "engine/schedule/virtual_clock.h"
#include "kernels/base/check.h"
#include "kernels/base/error.h"

namespace echelon {
namespace {

constexpr TokenId kToken = 1;  ///< every token there is; none ends a sequence

double quantile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<int64_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

/// What the last stage would answer after so long.
StepResult answer_of(const MicroBatch& batch, double stage_s) {
  StepResult result{.epoch = batch.epoch, .number = batch.number};
  result.stage_us = static_cast<uint32_t>(std::clamp(stage_s * 1e6, 1.0, 1e9));
  for (const PlanRow& row : batch.rows) {
    if (!row.sample) continue;
    RowResult& answer = result.rows.emplace_back();
    answer.slot = row.slot;
    answer.generation = row.generation;
    answer.sampled = true;
    answer.token.token = kToken;
  }
  return result;
}

std::vector<RowGroup> groups_of(const MicroBatch& batch) {
  std::vector<RowGroup> groups;
  for (const PlanRow& row : batch.rows) {
    groups.push_back(
        {.count = 1, .num_rows = row.num_tokens, .first_position = row.first_position, .sampled = row.sample});
  }
  return groups;
}

class SimulatedJob {
 public:
  SimulatedJob(const EngineOptions& options, const Load& load, const Arrivals& arrivals, const ReplicaCost& cost,
               const LayoutCapacity& capacity)
      : load_(load), arrivals_(arrivals), cost_(cost), placement_(options.balance), random_(arrivals.seed) {
    SchedulerOptions scheduler = scheduler_options(options, cost.num_stages(), capacity.num_blocks);
    scheduler.prefix_cache = false;  // every token of a simulation is the same one
    for (int dp = 0; dp < capacity.sizes.dp; ++dp) {
      replicas_.push_back(std::make_unique<Replica>(scheduler));
      stages_.emplace_back(static_cast<size_t>(cost.num_stages()));
    }
    busy_since_.resize(replicas_.size());
  }

  Simulated run() {
    if (arrivals_.per_second > 0) {
      std::exponential_distribution<double> pause(arrivals_.per_second);
      double time = 0;
      for (int i = 0; i < arrivals_.num_requests; ++i) clock_.at(time += pause(random_), [this] { arrive(); });
    } else {
      const int clients = std::min(load_.concurrency, arrivals_.num_requests);
      for (int i = 0; i < clients; ++i) clock_.at(0, [this] { arrive(); });
    }
    while (clock_.run_next()) {
    }
    ECHELON_CHECK(sequences_.empty() && num_arrived_ == arrivals_.num_requests);
    return summary();
  }

 private:
  struct Stage {
    double free_s = 0, busy_s = 0;
  };
  struct Running {
    double arrival_s = 0, first_token_s = -1, last_token_s = -1;
  };

  void arrive() {
    ++num_arrived_;
    Sequence sequence;
    sequence.id = sequence.first_choice = sequence.order = static_cast<SequenceId>(num_arrived_);
    sequence.tokens.assign(static_cast<size_t>(load_.prompt_tokens), kToken);
    sequence.num_prompt = static_cast<int>(load_.prompt_tokens);
    sequence.sampling.max_tokens = static_cast<int>(load_.output_tokens);
    sequence.sampling.ignore_eos = true;
    sequences_[sequence.id] = {.arrival_s = clock_.now()};
    const size_t index = placement_.choose(replicas_, sequence.tokens, 0);
    std::vector<Sequence> one;
    one.push_back(std::move(sequence));
    replicas_[index]->scheduler().add(std::move(one));
    plan(index);
  }

  void plan(size_t index) {
    Replica& replica = *replicas_[index];
    while (std::optional<MicroBatch> batch = replica.next(clock_.now())) {
      if (replica.scheduler().num_in_flight() == 1) busy_since_[index] = clock_.now();
      ++num_micro_batches_;
      run_stages(index, *batch);
    }
    if (const double wake_s = replica.scheduler().wake_s(); std::isfinite(wake_s))
      clock_.at(wake_s, [this, index] { plan(index); });
  }

  void run_stages(size_t index, const MicroBatch& batch) {
    const auto active = std::count_if(replicas_.begin(), replicas_.end(),
                                      [](const auto& each) { return each->scheduler().num_in_flight() > 0; });
    const int in_flight = replicas_[index]->scheduler().num_in_flight();
    const std::vector<StageCost> costs =
        cost_.cost(groups_of(batch), std::min(in_flight, cost_.num_stages()), static_cast<int>(active));
    double done_s = clock_.now();
    for (size_t s = 0; s < costs.size(); ++s) {
      Stage& stage = stages_[index][s];
      done_s = std::max(done_s, stage.free_s) + costs[s].total();
      stage.busy_s += costs[s].total();
      stage.free_s = done_s;
    }
    const double layers_s = std::max(clock_.now(), done_s - costs.back().latency);
    clock_.at(layers_s, [this, index, number = batch.number] {
      replicas_[index]->note_layers_done(number);
      plan(index);
    });
    clock_.at(done_s, [this, index, answer = answer_of(batch, costs.back().total())] { take(index, answer); });
  }

  void take(size_t index, const StepResult& answer) {
    Replica& replica = *replicas_[index];
    const double now = clock_.now();
    int num_ended = 0;
    for (const SequenceUpdate& update : replica.commit(answer, now)) {
      if (!update.token) continue;
      Running& running = sequences_.at(update.sequence);
      if (running.last_token_s < 0) {
        ttft_.push_back(now - running.arrival_s);
        running.first_token_s = now;
      } else {
        itl_.push_back(now - running.last_token_s);
      }
      running.last_token_s = now;
      if (!update.finish) continue;
      if (load_.output_tokens > 1)
        tpot_.push_back((now - running.first_token_s) / static_cast<double>(load_.output_tokens - 1));
      sequences_.erase(update.sequence);
      ++num_ended;
    }
    if (replica.scheduler().num_in_flight() == 0) active_s_ += now - busy_since_[index];
    plan(index);
    if (arrivals_.per_second > 0) return;
    for (; num_ended > 0 && num_arrived_ < arrivals_.num_requests; --num_ended) arrive();
  }

  Simulated summary() {
    const double seconds = clock_.now(), requests = arrivals_.num_requests;
    Simulated result{.seconds = seconds,
                     .output_tokens_per_s = requests * static_cast<double>(load_.output_tokens) / seconds,
                     .prompt_tokens_per_s = requests * static_cast<double>(load_.prompt_tokens) / seconds,
                     .ttft_p50 = quantile(ttft_, 0.5),
                     .ttft_p99 = quantile(ttft_, 0.99),
                     .itl_p50 = quantile(itl_, 0.5),
                     .itl_p99 = quantile(itl_, 0.99),
                     .tpot_p50 = quantile(tpot_, 0.5),
                     .num_micro_batches = num_micro_batches_};
    double busy_s = 0;
    for (const auto& stages : stages_) {
      for (const Stage& stage : stages) busy_s += stage.busy_s;
    }
    if (active_s_ > 0) result.bubble_share = std::max(0.0, 1 - busy_s / (active_s_ * cost_.num_stages()));
    for (const auto& replica : replicas_) result.num_preemptions += replica->scheduler().num_preemptions();
    return result;
  }

  const Load& load_;
  const Arrivals& arrivals_;
  const ReplicaCost& cost_;
  Placement placement_;
  std::mt19937_64 random_;
  VirtualClock<double> clock_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::vector<std::vector<Stage>> stages_;  ///< of each replica
  std::vector<double> busy_since_;
  double active_s_ = 0;  ///< replicas had micro-batches in flight
  std::unordered_map<SequenceId, Running> sequences_;
  std::vector<double> ttft_, itl_, tpot_;
  int num_arrived_ = 0;
  uint64_t num_micro_batches_ = 0;
};

}  // namespace

Simulated simulate_job(const ModelFiles& model, const EngineOptions& options, const Device& device,
                       const RankHosts& hosts, const Load& load, const Arrivals& arrivals, LayoutSizes sizes) {
  const auto backend = backend_for_sizes(options);
  const LayoutCapacity capacity = layout_capacity(model, options, *backend, hosts, sizes);
  if (!capacity.fits()) throw Error(Part::engine, capacity.refusal);
  if (capacity.max_sequences(load.sequence_tokens()) < 1)
    throw Error(Part::engine, fmt::format("the KV cache does not hold {} tokens", load.sequence_tokens()));
  const ReplicaCost cost(model, options, device, hosts, capacity);
  return SimulatedJob(options, load, arrivals, cost, capacity).run();
}

}  // namespace echelon
