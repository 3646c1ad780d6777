#include "engine/schedule/scheduler.h"

#include <algorithm>
#include <cmath>

#include "engine/schedule/wire.h"
#include "kernels/base/check.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

/// Of the time to live, between two searches for what has outlived it.
constexpr double kForgetEvery = 0.05;

}  // namespace

Scheduler::Scheduler(SchedulerOptions options)
    : options_(std::move(options)),
      pool_(options_.num_blocks, options_.prefix_cache),
      gate_(options_.batching, options_.max_num_seqs),
      generations_(options_.max_num_seqs, 0) {
  ECHELON_CHECK(options_.max_num_seqs >= 1 && options_.max_batch_tokens >= 1 && options_.depth >= 1);
  for (int slot = options_.max_num_seqs - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

void Scheduler::add(std::vector<Sequence> choices) {
  for (Sequence& choice : choices) {
    ECHELON_CHECK(!choice.tokens.empty() && choice.num_prompt <= static_cast<int>(choice.tokens.size()));
    ECHELON_CHECK(blocks_for(int64_t{choice.num_prompt} + choice.max_output()) <= pool_.num_blocks());
    auto owned = std::make_unique<Sequence>(std::move(choice));
    Sequence* sequence = owned.get();
    sequence->added_s = now_s_;
    ECHELON_CHECK(sequences_.try_emplace(sequence->id, std::move(owned)).second);
    waiting_.enter(sequence->tenant, sequence->weight);
    waiting_.insert(sequence);
  }
}

std::vector<std::vector<Sequence>> Scheduler::take_all() {
  std::vector<Sequence*> all;
  for (const auto& [id, sequence] : sequences_) all.push_back(sequence.get());
  std::sort(all.begin(), all.end(), [](const Sequence* a, const Sequence* b) { return a->id < b->id; });
  std::vector<std::vector<Sequence>> requests;
  for (Sequence* sequence : all) {
    if (sequence->running) release(*sequence);
    sequence->num_scheduled = sequence->num_fed_back = 0;
    sequence->was_interrupted = sequence->num_in_flight > 0;
    sequence->num_in_flight = 0;
    sequence->last_plan = 0;
    if (requests.empty() || requests.back().front().first_choice != sequence->first_choice) requests.emplace_back();
    requests.back().push_back(std::move(*sequence));
  }
  running_.clear();
  sequences_.clear();
  in_flight_.clear();
  masked_.clear();
  return requests;
}

bool Scheduler::remove(SequenceId id) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return false;
  Sequence& sequence = *found->second;
  if (sequence.running) {
    std::erase(running_, &sequence);
    release(sequence);
  } else {
    waiting_.erase(&sequence);
  }
  waiting_.leave(sequence.tenant);
  sequences_.erase(found);
  return true;
}

void Scheduler::set_time(double now_s) {
  now_s_ = now_s;
  pool_.set_time(now_s);
  if (options_.prefix_ttl_s == 0 || now_s - forgot_s_ < kForgetEvery * options_.prefix_ttl_s) return;
  pool_.forget_released_before(now_s - options_.prefix_ttl_s);
  forgot_s_ = now_s;
}

void Scheduler::preempt(Sequence& sequence) {
  std::erase(running_, &sequence);
  release(sequence);
  sequence.num_scheduled = 0;
  waiting_.insert(&sequence);
  ++num_preemptions_;
}

void Scheduler::release(Sequence& sequence) {
  while (!sequence.blocks.empty()) {  // the last block first: the head of a prefix is evicted last
    pool_.release(sequence.blocks.back());
    sequence.blocks.pop_back();
  }
  sequence.keys.clear();
  free_slots_.push_back(sequence.slot);
  sequence.slot = -1;
  sequence.running = false;
}

/// Those whose tokens are known and run, or in flight.
void Scheduler::publish_full_blocks(Sequence& sequence) {
  const int num_known = std::min(sequence.num_scheduled, static_cast<int>(sequence.tokens.size()));
  while (static_cast<int>(sequence.keys.size() + 1) * kBlockTokens <= num_known) {
    const size_t index = sequence.keys.size();
    const PrefixKey parent = index == 0 ? root_key(sequence.cache_salt) : sequence.keys.back();
    const auto tokens = std::span<const TokenId>(sequence.tokens).subspan(index * kBlockTokens, kBlockTokens);
    pool_.publish(sequence.blocks[index], parent, tokens);
    sequence.keys.push_back(chain_key(parent, tokens));
  }
}

std::vector<SequenceUpdate> Scheduler::commit(const StepResult& result) {
  if (in_flight_.empty() || in_flight_.front().number != result.number) {
    throw WireError("result of micro-batch " + std::to_string(result.number) + " was not expected now");
  }
  check_fits(in_flight_.front(), result);
  const InFlight record = std::move(in_flight_.front());
  in_flight_.pop_front();
  cost_.observe(record.shape, result.stage_us * 1e-6);
  std::vector<SequenceUpdate> updates;
  auto next_result = result.rows.begin();
  for (const InFlightRow& row : record.rows) {
    const RowResult* answer = row.has_answer() ? &*next_result++ : nullptr;
    const auto found = sequences_.find(row.sequence);
    if (found == sequences_.end()) continue;  // removed meanwhile
    Sequence& sequence = *found->second;
    --sequence.num_in_flight;
    if (!answer) continue;
    SequenceUpdate update{.sequence = sequence.id,
                          .num_cached = sequence.num_cached,
                          .prompt_logprobs = answer->prompt_logprobs,
                          .token = {},
                          .pooled = {},
                          .finish = {},
                          .stop_token = {}};
    sequence.num_prompt_logprobs += row.num_targets;
    if (row.sample) take_token(sequence, answer->token, update);
    if (row.pool) take_vector(answer->pooled, update);
    if (update.finish) remove(sequence.id);
    updates.push_back(std::move(update));
  }
  return updates;
}

/// All of it before any of it counts.
void Scheduler::check_fits(const InFlight& record, const StepResult& result) const {
  auto answer = result.rows.begin();
  for (const InFlightRow& row : record.rows) {
    if (!row.has_answer()) continue;
    if (answer == result.rows.end()) throw WireError("result lacks a row of its micro-batch");
    if (answer->slot != row.slot || answer->generation != row.generation || answer->sampled != row.sample ||
        static_cast<int>(answer->prompt_logprobs.size()) != row.num_targets ||
        static_cast<int64_t>(answer->pooled.size()) != (row.pool ? options_.hidden : 0))
      throw WireError("result row does not fit the row that was planned");
    if (row.sample && answer->token.token >= options_.vocab)
      throw WireError("result has a token that is not in the vocabulary");
    ++answer;
  }
  if (answer != result.rows.end()) throw WireError("result has more rows than its micro-batch");
}

void Scheduler::take_token(Sequence& sequence, const OutputToken& token, SequenceUpdate& update) {
  update.token = token;
  sequence.tokens.push_back(token.token);
  waiting_.charge(sequence.tenant, 1);
  if (options_.feed_back) --sequence.num_fed_back;
  update.finish = finish_reason(sequence, token.token);
  if (update.finish == FinishReason::stop) update.stop_token = token.token;
}

void Scheduler::take_vector(const std::vector<float>& pooled, SequenceUpdate& update) const {
  const bool finite = std::all_of(pooled.begin(), pooled.end(), [](float value) { return std::isfinite(value); });
  update.finish = finite ? FinishReason::stop : FinishReason::error;
  update.pooled = pooled;
}

std::optional<MaskedRows> Scheduler::next_masked() {
  if (masked_.empty()) return std::nullopt;
  MaskedRows& front = masked_.front();
  std::erase_if(front.rows, [&](const MaskedRow& row) { return find(row.sequence) == nullptr; });
  const bool known = std::all_of(front.rows.begin(), front.rows.end(), [&](const MaskedRow& row) {
    return static_cast<int>(find(row.sequence)->tokens.size()) == row.position;
  });
  if (!known) return std::nullopt;
  MaskedRows rows = std::move(front);
  masked_.pop_front();
  return rows;
}

std::optional<FinishReason> Scheduler::finish_reason(const Sequence& sequence, TokenId token) const {
  if (token < 0) return FinishReason::error;  // no logit was finite (sampler.h)
  const auto contains = [&](const std::vector<TokenId>& ids) {
    return std::find(ids.begin(), ids.end(), token) != ids.end();
  };
  // Behind the end a grammar has nothing.
  if (sequence.masked && contains(options_.end_tokens)) return FinishReason::stop;
  if (sequence.num_output() > sequence.sampling.min_tokens) {
    if (!sequence.sampling.ignore_eos && contains(options_.end_tokens)) return FinishReason::stop;
    if (contains(sequence.sampling.stop_token_ids)) return FinishReason::stop;
  }
  if (sequence.num_output() >= sequence.sampling.max_tokens) return FinishReason::length;
  return std::nullopt;
}

int Scheduler::num_cached_tokens(std::span<const TokenId> prompt, uint64_t cache_salt) const {
  return pool_.count_cached(root_key(cache_salt), prompt).found * kBlockTokens;
}

int64_t Scheduler::load() const {
  int64_t total = 0;
  for (const auto& [id, sequence] : sequences_) total += sequence->num_pending() + 1;
  return total;
}

const Sequence* Scheduler::find(SequenceId id) const {
  const auto found = sequences_.find(id);
  return found == sequences_.end() ? nullptr : found->second.get();
}

void Scheduler::check_integrity() const {
  pool_.check_integrity();
  int64_t references = 0;
  for (const auto& [id, sequence] : sequences_) {
    references += static_cast<int64_t>(sequence->blocks.size());
    ECHELON_CHECK(sequence->running == (sequence->slot >= 0));
    ECHELON_CHECK(sequence->running || (sequence->blocks.empty() && sequence->num_scheduled == 0));
    ECHELON_CHECK(!sequence->running ||
                  blocks_for(sequence->num_scheduled) <= static_cast<int>(sequence->blocks.size()));
    ECHELON_CHECK(sequence->running != waiting_.contains(sequence.get()));
  }
  ECHELON_CHECK(references == pool_.total_references(), "{} references, {} counted", references,
                pool_.total_references());
  ECHELON_CHECK(sequences_.size() == running_.size() + waiting_.size());
  ECHELON_CHECK(free_slots_.size() + running_.size() == generations_.size());
}

}  // namespace echelon
