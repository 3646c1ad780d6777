#include "engine/stage/stage.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "engine/schedule/wire.h"
#include "kernels/base/check.h"

namespace echelon {
namespace {

StageTime now() { return StageTime::clock::now(); }

}  // namespace

/// A row of the micro-batch whose logits are wanted, and the answer.
struct Stage::Wanted {
  int row = 0;  ///< of the micro-batch's tokens
  size_t plan_row = 0;
  int target = -1;  ///< index into MicroBatch::targets; -1: sample
  OutputToken token;
  TokenLogprob logprob;
};

Stage::Stage(LayerRunner& layers, const SlotLimits& limits, Neighbours neighbours, bool is_last, bool is_sampler,
             int64_t vocab, std::vector<TokenId> end_tokens, StageClock& clock)
    : layers_(layers),
      slots_(limits),
      neighbours_(neighbours),
      is_last_(is_last),
      is_sampler_(is_sampler),
      vocab_(vocab),
      samplers_(static_cast<size_t>(layers.num_host_threads()), Sampler(std::move(end_tokens))),
      pooler_(layers, limits.num_slots),
      clock_(clock) {}

/// tokens_ from the plan and from what was sampled before: part 0 samples, and tells the other parts.
void Stage::put_in_fed_back(const MicroBatch& batch) {
  tokens_ = batch.tokens;
  if (std::find(tokens_.begin(), tokens_.end(), kFedBackToken) == tokens_.end()) return;
  if (neighbours_.previous >= 0 || !is_last_) throw WireError("plan feeds back tokens between stages");
  fed_back_.clear();
  size_t token = 0;
  for (const PlanRow& row : batch.rows) {
    if (tokens_[token] == kFedBackToken) fed_back_.push_back(slots_.sampled_token(row.slot));
    token += static_cast<size_t>(row.num_tokens);
  }
  if (neighbours_.parts != nullptr) {
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(fed_back_));
    std::vector<std::span<std::byte>> of_parts(static_cast<size_t>(neighbours_.parts->size()));
    of_parts[0] = bytes;
    neighbours_.parts->all_gather(is_sampler_ ? bytes : std::span<std::byte>(), of_parts);
  }
  auto next = fed_back_.begin();
  for (TokenId& each : tokens_) {
    if (each != kFedBackToken) continue;
    each = *next++;
    if (each < 0 || each >= vocab_) throw WireError(fmt::format("part 0 fed back token {} of {}", each, vocab_));
  }
}

/// A masked row without a mask is one of a sequence that has ended: what it samples is not used.
void Stage::take_masks(const MicroBatch& batch, const std::vector<RowMask>& masks) {
  masks_.assign(batch.rows.size(), nullptr);
  size_t row = 0;
  for (const RowMask& mask : masks) {
    const auto is_it = [&](const PlanRow& each) {
      return each.masked && each.slot == mask.slot && each.generation == mask.generation;
    };
    while (row < batch.rows.size() && !is_it(batch.rows[row])) ++row;
    if (row == batch.rows.size())
      throw WireError(fmt::format("a mask for slot {}, which no row of the plan asks for", mask.slot));
    if (mask.allowed.width() != vocab_) throw WireError("mask has another width than the vocabulary");
    masks_[row++] = &mask.allowed;
  }
}

std::optional<StepResult> Stage::run(const MicroBatch& batch, const std::function<void()>& layers_done,
                                     const std::function<std::vector<RowMask>()>& masks) {
  StageTime since = now();
  const double exchanged = clock_.wait.exchange, busy = clock_.busy_seconds;
  const std::vector<Segment> segments = slots_.apply(batch);
  put_in_fed_back(batch);
  const BatchView view{.tokens = tokens_, .segments = segments};
  if (neighbours_.previous >= 0) {
    const StageTime before = now();
    clock_.busy_seconds += seconds_between(since, before);
    neighbours_.replica->receive(neighbours_.previous, layers_.hidden_bytes(view.num_rows()));
    since = now();
    clock_.wait.activations += seconds_between(before, since);
  } else {
    layers_.embed(view);
  }
  layers_.run_layers(view);
  std::optional<StepResult> result;
  if (is_last_) {
    if (is_sampler_ && layers_done) layers_done();
    masks_.assign(batch.rows.size(), nullptr);
    std::vector<RowMask> row_masks;
    const auto is_masked = [](const PlanRow& row) { return row.masked; };
    if (is_sampler_ && std::any_of(batch.rows.begin(), batch.rows.end(), is_masked)) {
      if (!masks) throw WireError("plan has masked rows, and no masks can come");
      const StageTime waiting = now();
      clock_.busy_seconds += seconds_between(since, waiting);
      row_masks = masks();
      take_masks(batch, row_masks);
      since = now();
      clock_.wait.plan += seconds_between(waiting, since);
    }
    const StageTime before = now();
    const double exchanged_before = clock_.wait.exchange;
    StepResult answered = answer(batch, segments);
    clock_.sampling_seconds += seconds_between(before, now()) - (clock_.wait.exchange - exchanged_before);
    if (is_sampler_) result = std::move(answered);
  }
  const StageTime end = now();
  clock_.busy_seconds += seconds_between(since, end) - (clock_.wait.exchange - exchanged);
  if (result) {
    const double seconds = clock_.busy_seconds - busy + clock_.wait.exchange - exchanged;
    result->stage_us = static_cast<uint32_t>(std::clamp(seconds * 1e6, 1.0, 1e9));
  }
  clock_.last = {.number = batch.number, .rows = view.num_rows(), .begin = since, .end = end};
  if (neighbours_.next >= 0) {
    neighbours_.replica->send(neighbours_.next, layers_.hidden_bytes(view.num_rows()));
    clock_.wait.send += seconds_between(end, now());
  }
  return result;
}

std::vector<Stage::Wanted> Stage::wanted_rows(const MicroBatch& batch, std::span<const Segment> segments) const {
  std::vector<Wanted> wanted;
  int target = 0;
  for (size_t i = 0; i < batch.rows.size(); ++i) {
    const PlanRow& row = batch.rows[i];
    for (int t = 0; t < row.num_targets; ++t) {
      Wanted& want = wanted.emplace_back();
      want.row = segments[i].first_row + row.targets_from + t;
      want.plan_row = i;
      want.target = target++;
    }
    if (row.sample) {
      Wanted& want = wanted.emplace_back();
      want.row = segments[i].first_row + row.num_tokens - 1;
      want.plan_row = i;
    }
  }
  return wanted;
}

/// Answers at most kLogitRows rows.
void Stage::choose(const MicroBatch& batch, std::span<Wanted> wanted) {
  std::vector<int> rows;
  for (const Wanted& want : wanted) rows.push_back(want.row);
  const std::span<const float> logits = layers_.logits(rows);
  if (!is_sampler_) return;
  const size_t num_parts = std::min(samplers_.size(), wanted.size()), vocab = static_cast<size_t>(vocab_);
  layers_.run_on_host(static_cast<int>(num_parts), [&](int part) {
    Sampler& sampler = samplers_[static_cast<size_t>(part)];
    for (size_t i = static_cast<size_t>(part); i < wanted.size(); i += num_parts) {
      Wanted& want = wanted[i];
      const PlanRow& row = batch.rows[want.plan_row];
      const SamplingState& state = slots_.sampling(row.slot);
      const std::span<const float> of_row = logits.subspan(i * vocab, vocab);
      if (want.target >= 0) {
        want.logprob = sampler.logprob(of_row, batch.targets[want.target], state.params.num_prompt_logprobs);
      } else {
        want.token = sampler.sample(of_row, state, row.first_position + row.num_tokens, masks_[want.plan_row]);
      }
    }
  });
}

/// What the logits of a row gave, into its answer.
void Stage::take(Wanted want, const PlanRow& row, RowResult& answer) {
  if (want.target >= 0) {
    answer.prompt_logprobs.push_back(std::move(want.logprob));
    return;
  }
  if (want.token.token != kNoToken) {
    slots_.sampling(row.slot).note_output(want.token.token);
    slots_.sampled_token(row.slot) = want.token.token;
  } else {
    slots_.sampled_token(row.slot) = 0;  // the sequence ends: what is run behind it is not used
  }
  answer.token = std::move(want.token);
}

StepResult Stage::answer(const MicroBatch& batch, std::span<const Segment> segments) {
  StepResult result{.epoch = batch.epoch, .number = batch.number, .rows = {}};
  std::vector<Wanted> wanted = wanted_rows(batch, segments);
  for (size_t first = 0; first < wanted.size(); first += kLogitRows) {
    choose(batch, std::span(wanted).subspan(first, std::min<size_t>(kLogitRows, wanted.size() - first)));
  }
  if (!is_sampler_) return result;
  auto next = wanted.begin();
  for (size_t i = 0; i < batch.rows.size(); ++i) {
    const PlanRow& row = batch.rows[i];
    std::vector<float> pooled = pooler_.take(row, segments[i].first_row);
    if (!row.sample && row.num_targets == 0 && !row.pool) continue;
    RowResult& answered = result.rows.emplace_back();
    answered.slot = row.slot;
    answered.generation = row.generation;
    answered.sampled = row.sample;
    answered.pooled = std::move(pooled);
    for (; next != wanted.end() && next->plan_row == i; ++next) take(std::move(*next), row, answered);
  }
  return result;
}

}  // namespace echelon
