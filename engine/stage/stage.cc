#include "engine/stage/stage.h"

#include <chrono>

#include "kernels/base/check.h"

namespace echelon {
namespace {

using SteadyClock = std::chrono::steady_clock;

void add_seconds(std::atomic<double>& total, SteadyClock::time_point since) {
  total.store(total.load(std::memory_order_relaxed) + std::chrono::duration<double>(SteadyClock::now() - since).count(),
              std::memory_order_relaxed);
}

/// A row of the micro-batch whose logits are wanted, and for what.
struct Wanted {
  int row = 0;  ///< of the micro-batch's tokens
  size_t plan_row = 0;
  int target = -1;  ///< index into MicroBatch::targets; -1: sample
};

std::vector<Wanted> wanted_rows(const MicroBatch& batch, std::span<const Segment> segments) {
  std::vector<Wanted> wanted;
  int target = 0;
  for (size_t i = 0; i < batch.rows.size(); ++i) {
    const PlanRow& row = batch.rows[i];
    for (int t = 0; t < row.num_targets; ++t) {
      wanted.push_back({.row = segments[i].first_row + row.targets_from + t, .plan_row = i, .target = target++});
    }
    if (row.sample) wanted.push_back({.row = segments[i].first_row + row.num_tokens - 1, .plan_row = i, .target = -1});
  }
  return wanted;
}

}  // namespace

Stage::Stage(LayerRunner& layers, const SlotLimits& limits, Neighbours neighbours, bool is_last, bool is_sampler,
             int64_t vocab, std::vector<TokenId> end_tokens, StageClock& clock)
    : layers_(layers),
      slots_(limits),
      neighbours_(neighbours),
      is_last_(is_last),
      is_sampler_(is_sampler),
      vocab_(vocab),
      sampler_(std::move(end_tokens)),
      clock_(clock) {}

std::optional<StepResult> Stage::run(const MicroBatch& batch) {
  const std::vector<Segment> segments = slots_.apply(batch);
  const BatchView view{.tokens = batch.tokens, .segments = segments};
  auto since = SteadyClock::now();
  if (neighbours_.previous >= 0) {
    neighbours_.replica->receive(neighbours_.previous, layers_.hidden_bytes(view.num_rows()));
    add_seconds(clock_.wait_seconds, since);
    since = SteadyClock::now();
  } else {
    layers_.embed(view);
  }
  layers_.run_layers(view);
  std::optional<StepResult> result;
  if (is_last_) {
    StepResult sampled = sample(batch, segments);
    if (is_sampler_) result = std::move(sampled);
  }
  add_seconds(clock_.busy_seconds, since);
  if (neighbours_.next >= 0) {
    since = SteadyClock::now();
    neighbours_.replica->send(neighbours_.next, layers_.hidden_bytes(view.num_rows()));
    add_seconds(clock_.wait_seconds, since);
  }
  return result;
}

StepResult Stage::sample(const MicroBatch& batch, std::span<const Segment> segments) {
  StepResult result{.epoch = batch.epoch, .number = batch.number, .rows = {}};
  const std::vector<Wanted> wanted = wanted_rows(batch, segments);
  size_t open_row = batch.rows.size();  // the plan row that result.rows.back() answers
  for (size_t first = 0; first < wanted.size(); first += kLogitRows) {
    const size_t count = std::min<size_t>(kLogitRows, wanted.size() - first);
    std::vector<int> rows;
    for (size_t i = 0; i < count; ++i) rows.push_back(wanted[first + i].row);
    const std::span<const float> logits = layers_.logits(rows);
    if (!is_sampler_) continue;
    for (size_t i = 0; i < count; ++i) {
      const Wanted& want = wanted[first + i];
      const PlanRow& row = batch.rows[want.plan_row];
      if (want.plan_row != open_row) {
        result.rows.push_back({.slot = row.slot, .generation = row.generation, .sampled = row.sample != 0});
        open_row = want.plan_row;
      }
      const std::span<const float> of_row =
          logits.subspan(i * static_cast<size_t>(vocab_), static_cast<size_t>(vocab_));
      SamplingState& state = slots_.sampling(row.slot);
      if (want.target >= 0) {
        result.rows.back().prompt_logprobs.push_back(
            sampler_.logprob(of_row, batch.targets[want.target], state.params.num_prompt_logprobs));
      } else {
        const int position = row.first_position + row.num_tokens;
        result.rows.back().token = sampler_.sample(of_row, state, position);
        if (result.rows.back().token.token != kNoToken) state.note_output(result.rows.back().token.token);
      }
    }
  }
  return result;
}

}  // namespace echelon
