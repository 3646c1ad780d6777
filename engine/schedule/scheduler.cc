#include "engine/schedule/scheduler.h"

#include <algorithm>

#include "engine/schedule/wire.h"
#include "kernels/base/check.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

/// With several micro-batches in flight a prompt is cut into chunks of at least this many tokens, so that all stages
/// get work.
constexpr int kMinChunk = 64;

/// Tokens that one plan's registrations may carry for penalties (4 MiB): a plan has to fit into one frame of the
/// control channel.
constexpr size_t kMaxRegistrationTokens = size_t{1} << 20;

/// Of the time to live, between two searches for what has outlived it.
constexpr double kForgetEvery = 0.05;

int blocks_for(int64_t num_tokens) { return static_cast<int>((num_tokens + kBlockTokens - 1) / kBlockTokens); }

}  // namespace

struct Scheduler::Draft {
  MicroBatch batch;
  InFlight record;
  int tokens_left = 0;
  std::vector<const Sequence*> members;
  std::vector<SlotRegistration> pending_registrations;

  bool has(const Sequence* sequence) const {
    return std::find(members.begin(), members.end(), sequence) != members.end();
  }
};

Scheduler::Scheduler(SchedulerOptions options)
    : options_(std::move(options)),
      pool_(options_.num_blocks, options_.prefix_cache),
      gate_(options_.batching, options_.max_num_seqs),
      generations_(options_.max_num_seqs, 0),
      prompt_limit_(options_.max_batch_tokens) {
  ECHELON_CHECK(options_.max_num_seqs >= 1 && options_.max_batch_tokens >= 1 && options_.depth >= 1);
  for (int slot = options_.max_num_seqs - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

void Scheduler::add(std::vector<Sequence> choices) {
  for (Sequence& choice : choices) {
    ECHELON_CHECK(!choice.tokens.empty() && choice.num_prompt == static_cast<int>(choice.tokens.size()));
    ECHELON_CHECK(blocks_for(int64_t{choice.num_prompt} + choice.sampling.max_tokens) <= pool_.num_blocks());
    auto owned = std::make_unique<Sequence>(std::move(choice));
    Sequence* sequence = owned.get();
    sequence->added_s = now_s_;
    ECHELON_CHECK(sequences_.try_emplace(sequence->id, std::move(owned)).second);
    waiting_.enter(sequence->tenant, sequence->weight);
    waiting_.insert(sequence);
  }
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

std::optional<MicroBatch> Scheduler::next() {
  if (num_in_flight() >= options_.depth) return std::nullopt;
  Draft draft;
  draft.tokens_left = options_.max_batch_tokens;
  const int num_decoding = plan_decodes(draft);
  const int decode_rows = static_cast<int>(draft.members.size());
  draft.tokens_left = std::min(draft.tokens_left, std::max(prefill_budget(draft) - decode_rows, 0));
  if (num_decoding > 0) draft.tokens_left = std::min(draft.tokens_left, prompt_limit_);
  plan_prefills(draft);
  admit_waiting(draft);
  if (draft.batch.rows.empty()) return std::nullopt;
  draft.batch.number = draft.record.number = next_number_++;
  for (const InFlightRow& row : draft.record.rows) sequences_.at(row.sequence)->last_plan = draft.record.number;
  in_flight_.push_back(std::move(draft.record));
  return std::move(draft.batch);
}

/// Decodes are spread evenly over the micro-batches in flight; those that waited longest go first.
int Scheduler::plan_decodes(Draft& draft) {
  std::vector<Sequence*> ready;
  int num_decoding = 0;
  for (Sequence* sequence : running_) {
    if (!sequence->in_decode()) continue;
    ++num_decoding;
    if (sequence->num_pending() > 0 && sequence->goes_on()) ready.push_back(sequence);
  }
  std::stable_sort(ready.begin(), ready.end(),
                   [](const Sequence* a, const Sequence* b) { return a->last_plan < b->last_plan; });
  const int share = (num_decoding + num_parallel() - 1) / num_parallel();
  for (Sequence* sequence : ready) {
    if (static_cast<int>(draft.members.size()) >= share || draft.tokens_left == 0) break;
    if (sequence->running) add_row(*sequence, sequence->num_pending(), draft);
  }
  return num_decoding;
}

/// Tokens one micro-batch may hold: all of the budget when nothing overlaps, else a share that gives every stage work.
int Scheduler::prefill_budget(const Draft& draft) const {
  if (num_parallel() == 1) return options_.max_batch_tokens;
  int64_t pending = static_cast<int64_t>(draft.members.size());
  for (const Sequence* sequence : running_) {
    if (!sequence->in_decode()) pending += sequence->num_pending();
  }
  waiting_.each([&](const Sequence& sequence) {
    pending += sequence.num_pending();
    return pending <= int64_t{2} * num_parallel() * options_.max_batch_tokens;
  });
  const int64_t share = (pending + 2 * num_parallel() - 1) / (2 * num_parallel());
  return static_cast<int>(
      std::clamp<int64_t>(share, std::min(kMinChunk, options_.max_batch_tokens), options_.max_batch_tokens));
}

void Scheduler::plan_prefills(Draft& draft) {
  std::vector<Sequence*> prefills;
  for (Sequence* sequence : running_) {
    if (!sequence->in_decode() && sequence->num_pending() > 0 && !draft.has(sequence)) prefills.push_back(sequence);
  }
  std::sort(prefills.begin(), prefills.end(), ClassAndAge());
  for (Sequence* sequence : prefills) {
    if (draft.tokens_left == 0) break;
    if (sequence->running) add_row(*sequence, std::min(draft.tokens_left, sequence->num_pending()), draft);
  }
}

/// A sequence may start when its rows in flight from before a preemption are back, and choice 0 has its prompt in
/// blocks to share.
bool Scheduler::may_start(const Sequence& sequence) const {
  if (sequence.num_in_flight > 0) return false;
  if (sequence.choice == 0 || sequence.admitted_before) return true;
  const Sequence* first = find(sequence.first_choice);
  return !first || first->in_decode();
}

void Scheduler::admit_waiting(Draft& draft) {
  if (draft.tokens_left == 0 || free_slots_.empty()) return;
  gate_.open(waiting_, !running_.empty(), now_s_);
  size_t registered_tokens = 0;
  WaitingQueue::Order order(waiting_);
  while (draft.tokens_left > 0 && !free_slots_.empty() && num_running() < gate_.max_running()) {
    Sequence* const sequence = order.next();
    if (sequence == nullptr) break;
    if (!may_start(*sequence) || !gate_.lets_in(*sequence)) continue;
    const size_t penalty_tokens = sequence->sampling.has_penalties() ? sequence->tokens.size() : 0;
    if (registered_tokens > 0 && registered_tokens + penalty_tokens > kMaxRegistrationTokens) break;
    registered_tokens += penalty_tokens;
    // Room for all it has now and one block more, so that a new sequence does not push out the next one at once.
    if (!running_.empty() && pool_.num_free() < num_free_needed(*sequence) + 1) break;
    admit(*sequence, draft);
    if (!add_row(*sequence, std::min(draft.tokens_left, sequence->num_pending()), draft, true)) break;
  }
}

/// Blocks that the tokens of a waiting sequence take from the free list: those that others use already cost nothing.
int Scheduler::num_free_needed(const Sequence& sequence) const {
  const int total = blocks_for(static_cast<int64_t>(sequence.tokens.size()));
  return total -
         std::max(num_shareable(sequence), pool_.count_cached(root_key(sequence.cache_salt), sequence.tokens).in_use);
}

/// Full prompt blocks that choice 0 of the same request holds.
int Scheduler::num_shareable(const Sequence& sequence) const {
  const Sequence* first = sequence.choice > 0 ? find(sequence.first_choice) : nullptr;
  if (!first || !first->running) return 0;
  const int in_tokens =
      std::min({static_cast<int>(sequence.tokens.size()) - 1, first->num_prompt, first->num_scheduled});
  return in_tokens / kBlockTokens;
}

void Scheduler::admit(Sequence& sequence, Draft& draft) {
  waiting_.erase(&sequence);
  running_.push_back(&sequence);
  sequence.running = true;
  sequence.slot = free_slots_.back();
  free_slots_.pop_back();
  sequence.generation = ++generations_[sequence.slot];
  take_cached_blocks(sequence);
  if (!sequence.admitted_before) {
    sequence.num_cached = sequence.num_scheduled;
    waiting_.charge(sequence.tenant, sequence.num_prompt - sequence.num_cached);
    admitted_.push_back(sequence.id);
    gate_.note_started();
  }
  sequence.admitted_before = true;

  SlotRegistration registration;
  registration.slot = sequence.slot;
  registration.generation = sequence.generation;
  registration.choice = sequence.choice;
  registration.num_prompt = sequence.num_prompt;
  registration.sampling = sequence.sampling;
  if (sequence.sampling.has_penalties()) registration.tokens = sequence.tokens;
  draft.batch.registrations.push_back(std::move(registration));
}

/// Full blocks of the prefix that are already computed: choice 0's, or those in the cache. At least one token is left
/// to run.
void Scheduler::take_cached_blocks(Sequence& sequence) {
  ECHELON_CHECK(sequence.blocks.empty() && sequence.num_scheduled == 0);
  sequence.keys.clear();
  const bool wants_prompt =
      sequence.sampling.num_prompt_logprobs >= 0 && sequence.num_prompt_logprobs < sequence.num_prompt - 1;
  if (wants_prompt) return;  // every prompt position has to be run for its logits
  const int limit = (static_cast<int>(sequence.tokens.size()) - 1) / kBlockTokens;
  const int shared = num_shareable(sequence);
  PrefixKey parent = root_key(sequence.cache_salt);
  for (int i = 0; i < limit; ++i) {
    const auto tokens =
        std::span<const TokenId>(sequence.tokens).subspan(static_cast<size_t>(i) * kBlockTokens, kBlockTokens);
    std::optional<int> block;
    if (i < shared) {
      block = find(sequence.first_choice)->blocks[i];
      pool_.retain(*block);
    } else {
      block = pool_.lookup(parent, tokens);
    }
    if (!block) break;
    sequence.blocks.push_back(*block);
    parent = chain_key(parent, tokens);
    sequence.keys.push_back(parent);
  }
  sequence.num_scheduled = static_cast<int>(sequence.blocks.size()) * kBlockTokens;
  num_prefix_queries_ += sequence.tokens.size();
  num_prefix_hits_ += sequence.num_scheduled;
}

/// Adds the next tokens of a running sequence to the draft; an admission's row carries its shared blocks, too. False
/// when there is no room for their blocks (the sequence may have been preempted itself).
bool Scheduler::add_row(Sequence& sequence, int num_tokens, Draft& draft, bool is_admission) {
  const int blocks_before = is_admission ? 0 : static_cast<int>(sequence.blocks.size());
  if (!reserve_blocks(sequence, num_tokens, draft)) {
    if (is_admission) {
      draft.batch.registrations.pop_back();
      if (sequence.running) preempt(sequence);
    }
    return false;
  }
  PlanRow row;
  row.slot = sequence.slot;
  row.generation = sequence.generation;
  row.first_position = sequence.num_scheduled;
  row.num_tokens = num_tokens;
  row.num_new_blocks = static_cast<int>(sequence.blocks.size()) - blocks_before;
  row.sample = num_tokens == sequence.num_pending();
  if (sequence.sampling.num_prompt_logprobs >= 0) {
    // Position p gives the log-probability of prompt token p + 1; those delivered before a preemption are not asked for
    // again.
    const int from = std::max(row.first_position, sequence.num_prompt_logprobs);
    const int to = std::min(row.first_position + num_tokens, sequence.num_prompt - 1);
    if (to > from) {
      row.targets_from = from - row.first_position;
      row.num_targets = to - from;
      for (int p = from; p < to; ++p) draft.batch.targets.push_back(sequence.tokens[p + 1]);
    }
  }
  if (row.first_position < static_cast<int>(sequence.tokens.size())) {
    const auto tokens = sequence.tokens.begin() + row.first_position;
    draft.batch.tokens.insert(draft.batch.tokens.end(), tokens, tokens + num_tokens);
  } else {
    draft.batch.tokens.push_back(kFedBackToken);
  }
  draft.batch.new_blocks.insert(draft.batch.new_blocks.end(), sequence.blocks.begin() + blocks_before,
                                sequence.blocks.end());
  draft.batch.rows.push_back(row);
  draft.record.rows.push_back({.sequence = sequence.id,
                               .slot = sequence.slot,
                               .generation = sequence.generation,
                               .sample = row.sample,
                               .num_targets = row.num_targets});
  draft.members.push_back(&sequence);
  draft.tokens_left -= num_tokens;
  sequence.num_scheduled += num_tokens;
  ++sequence.num_in_flight;
  if (options_.feed_back && row.sample) ++sequence.num_fed_back;
  publish_full_blocks(sequence);
  return true;
}

/// Blocks for the next num_tokens tokens; others are preempted for them, the lowest class and youngest first.
bool Scheduler::reserve_blocks(Sequence& sequence, int num_tokens, Draft& draft) {
  const size_t needed = blocks_for(int64_t{sequence.num_scheduled} + num_tokens);
  const size_t before = sequence.blocks.size();
  while (sequence.blocks.size() < needed) {
    if (const std::optional<int> block = pool_.allocate()) {
      sequence.blocks.push_back(*block);
      continue;
    }
    Sequence* victim = choose_victim(draft);
    if (!victim || victim == &sequence || ClassAndAge()(victim, &sequence)) {
      // Nobody behind this sequence can give way: it gives back what it just took, and itself when it is the last in
      // order.
      while (sequence.blocks.size() > before) {
        pool_.release(sequence.blocks.back());
        sequence.blocks.pop_back();
      }
      if (victim == &sequence && running_.size() > 1) preempt(sequence);
      return false;
    }
    preempt(*victim);
  }
  return true;
}

Sequence* Scheduler::choose_victim(const Draft& draft) const {
  Sequence* victim = nullptr;
  for (Sequence* sequence : running_) {
    if (draft.has(sequence)) continue;  // its blocks are used by the micro-batch being planned
    if (!victim || ClassAndAge()(victim, sequence)) victim = sequence;
  }
  return victim;
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
  const InFlight record = std::move(in_flight_.front());
  in_flight_.pop_front();
  std::vector<SequenceUpdate> updates;
  size_t next_result = 0;
  for (const InFlightRow& row : record.rows) {
    const RowResult* answer = nullptr;
    if (row.sample || row.num_targets > 0) {
      if (next_result == result.rows.size()) throw WireError("result lacks a row of its micro-batch");
      answer = &result.rows[next_result++];
      if (answer->slot != row.slot || answer->generation != row.generation || answer->sampled != row.sample ||
          static_cast<int>(answer->prompt_logprobs.size()) != row.num_targets) {
        throw WireError("result row does not fit the row that was planned");
      }
    }
    const auto found = sequences_.find(row.sequence);
    if (found == sequences_.end()) continue;  // removed meanwhile
    Sequence& sequence = *found->second;
    --sequence.num_in_flight;
    if (!answer) continue;
    SequenceUpdate update{.sequence = sequence.id,
                          .num_cached = sequence.num_cached,
                          .prompt_logprobs = answer->prompt_logprobs,
                          .token = {},
                          .finish = {},
                          .stop_token = {}};
    sequence.num_prompt_logprobs += row.num_targets;
    if (row.sample) {
      const TokenId token = answer->token.token;
      if (token >= options_.vocab) throw WireError("result has a token that is not in the vocabulary");
      update.token = answer->token;
      sequence.tokens.push_back(token);
      waiting_.charge(sequence.tenant, 1);
      if (options_.feed_back) --sequence.num_fed_back;
      update.finish = finish_reason(sequence, token);
      if (update.finish == FinishReason::stop) update.stop_token = token;
      if (update.finish) remove(sequence.id);
    }
    updates.push_back(std::move(update));
  }
  if (next_result != result.rows.size()) throw WireError("result has more rows than its micro-batch");
  return updates;
}

std::optional<FinishReason> Scheduler::finish_reason(const Sequence& sequence, TokenId token) const {
  if (token < 0) return FinishReason::error;  // no logit was finite (sampler.h)
  const auto contains = [&](const std::vector<TokenId>& ids) {
    return std::find(ids.begin(), ids.end(), token) != ids.end();
  };
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
