// What goes into the next micro-batch.
#include <algorithm>
#include <limits>

#include "engine/schedule/scheduler.h"
#include "kernels/base/check.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

/// With several micro-batches in flight a prompt is cut into chunks that cost at least as much as so many tokens, so
/// that reading the weights is worth it.
constexpr int kMinChunk = 64;

/// Prompt tokens beside decodes before it is known what they take, and the least time they get of what decodes take.
constexpr int kFirstPromptTokens = 8;
constexpr double kLeastPromptShare = 0.25;

/// Tokens of background work beside others.
constexpr int kBackgroundTokens = 16;

/// Tokens that one plan's registrations may carry, beyond those of the first (4 MiB): a plan has to fit into one frame
/// of the control channel.
constexpr size_t kMaxRegistrationTokens = size_t{1} << 20;

}  // namespace

struct Scheduler::Draft {
  MicroBatch batch;
  InFlight record;
  MaskedRows masked;
  int tokens_left = 0;
  int64_t vectors_left = 0;                                       ///< answers to rows that pool
  bool holds_back = false;                                        ///< background work: others run or wait
  double seconds_left = std::numeric_limits<double>::infinity();  ///< for prompts
  std::vector<const Sequence*> members;

  bool has(const Sequence* sequence) const {
    return std::find(members.begin(), members.end(), sequence) != members.end();
  }
};

std::optional<MicroBatch> Scheduler::next() {
  if (num_in_flight() >= options_.depth) return std::nullopt;
  Draft draft;
  draft.tokens_left = options_.max_batch_tokens;
  const auto vector_bytes = std::max<size_t>(static_cast<size_t>(options_.hidden) * sizeof(float), 1);
  draft.vectors_left = static_cast<int64_t>(std::max<size_t>(kMaxPooledBytes / vector_bytes, 1));
  const auto is_background = [](const Sequence* sequence) { return sequence->is_background(); };
  draft.holds_back = waiting_.has_foreground() || !std::all_of(running_.begin(), running_.end(), is_background);
  const int num_decoding = plan_decodes(draft);
  if (num_parallel() > 1) share_prompts(draft);
  if (options_.itl_target_s > 0 && num_decoding > 0) hold_itl_target(draft);
  plan_prefills(draft);
  admit_waiting(draft);
  if (draft.holds_back) plan_background(draft);
  if (draft.batch.rows.empty()) return std::nullopt;
  draft.batch.epoch = options_.epoch;
  draft.batch.number = draft.record.number = next_number_++;
  for (const InFlightRow& row : draft.record.rows) sequences_.at(row.sequence)->last_plan = draft.record.number;
  in_flight_.push_back(std::move(draft.record));
  if (!draft.masked.rows.empty()) {
    draft.masked.number = draft.batch.number;
    draft.masked.epoch = draft.batch.epoch;
    masked_.push_back(std::move(draft.masked));
  }
  return std::move(draft.batch);
}

/// Decodes are spread evenly over the micro-batches in flight; those that waited longest go first.
int Scheduler::plan_decodes(Draft& draft) {
  std::vector<Sequence*> ready;
  int num_decoding = 0;
  for (Sequence* sequence : running_) {
    if (!sequence->in_decode() || (draft.holds_back && sequence->is_background())) continue;
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

/// Micro-batches that run at a time in different stages shall take the same time. Their decodes are as many; of the
/// prompts each gets its part, twice as many parts as there are stages, by what they cost and not by their tokens.
void Scheduler::share_prompts(Draft& draft) {
  int64_t tokens = 0;
  double seconds = 0;
  const auto count = [&](const Sequence& sequence) {
    tokens += sequence.num_pending();
    seconds += cost_.prompt_seconds(sequence.num_scheduled, sequence.num_pending());
  };
  for (const Sequence* sequence : running_) {
    if (!sequence->in_decode()) count(*sequence);
  }
  waiting_.each([&](const Sequence& sequence) {
    count(sequence);
    return tokens <= int64_t{2} * num_parallel() * options_.max_batch_tokens;
  });
  if (tokens == 0) return;
  const int64_t parts = int64_t{2} * num_parallel();
  const int64_t share = std::clamp<int64_t>((tokens + parts - 1) / parts,
                                            std::min(kMinChunk, options_.max_batch_tokens), options_.max_batch_tokens);
  draft.seconds_left = static_cast<double>(share) * seconds / static_cast<double>(tokens);
}

/// Prompts take what the decodes of this micro-batch leave of its part of the target. Where decodes alone take about as
/// long, prompts still get a quarter of that time, so that they come to an end.
void Scheduler::hold_itl_target(Draft& draft) {
  const double decodes = cost_.seconds(draft.record.shape), target = options_.itl_target_s / num_parallel();
  draft.seconds_left = std::min(draft.seconds_left, std::max(target - decodes, kLeastPromptShare * decodes));
  const int tried = std::max(cost_.most_prompt_tokens(), kFirstPromptTokens / 2);
  draft.tokens_left = std::min(draft.tokens_left, 2 * tried);  // the price of many is not known from that of few
}

/// How many of its tokens a prompt may run in this micro-batch; at least one when no other does.
int Scheduler::chunk_of(const Sequence& sequence, const Draft& draft) const {
  const int most = std::min(draft.tokens_left, sequence.num_pending());
  const int within = cost_.prompt_tokens_within(draft.seconds_left, sequence.num_scheduled, most);
  return draft.record.shape.prompt_tokens == 0 ? std::max(within, std::min(most, 1)) : within;
}

void Scheduler::plan_prefills(Draft& draft) {
  std::vector<Sequence*> prefills;
  for (Sequence* sequence : running_) {
    if (draft.holds_back && sequence->is_background()) continue;
    if (!sequence->in_decode() && sequence->num_pending() > 0 && !draft.has(sequence)) prefills.push_back(sequence);
  }
  std::sort(prefills.begin(), prefills.end(), ClassAndAge());
  for (Sequence* sequence : prefills) {
    if (!sequence->running || !has_room_for(*sequence, draft)) continue;
    const int num_tokens = chunk_of(*sequence, draft);
    if (num_tokens == 0) break;
    add_row(*sequence, num_tokens, draft);
  }
}

/// One row beside others: of what waited longest.
void Scheduler::plan_background(Draft& draft) {
  Sequence* next = nullptr;
  for (Sequence* sequence : running_) {
    if (sequence->is_background() && draft.has(sequence)) return;  // it has just started
    const bool is_ready = sequence->num_pending() > 0 && (!sequence->in_decode() || sequence->goes_on());
    if (!sequence->is_background() || !is_ready || !has_room_for(*sequence, draft)) continue;
    if (!next || sequence->last_plan < next->last_plan) next = sequence;
  }
  if (!next || draft.tokens_left == 0) return;
  add_row(*next, std::min({next->num_pending(), kBackgroundTokens, draft.tokens_left}), draft);
}

/// A sequence may start when its rows in flight from before a preemption are back, and choice 0 has its prompt in
/// blocks to share.
bool Scheduler::may_start(const Sequence& sequence) const {
  if (sequence.num_in_flight > 0) return false;
  if (sequence.is_first() || sequence.admitted_before) return true;
  const Sequence* first = find(sequence.first_choice);
  return !first || first->in_decode();
}

/// The answer to a micro-batch has to fit into one message.
bool Scheduler::has_room_for(const Sequence& sequence, const Draft& draft) {
  return sequence.pooling == Pooling::none || draft.vectors_left > 0;
}

/// A slot, and room for all it has now and one block more, so that a new sequence does not push out the next one at
/// once.
bool Scheduler::has_place_for(const Sequence& sequence) const {
  return !free_slots_.empty() && num_running() < gate_.max_running() &&
         (running_.empty() || pool_.num_free() >= num_free_needed(sequence) + 1);
}

/// Background work gives way where that is enough, the youngest first.
void Scheduler::make_way(const Sequence& sequence, const Draft& draft) {
  size_t num_free = static_cast<size_t>(pool_.num_free());
  for (const Sequence* other : running_)
    num_free += other->is_background() && !draft.has(other) ? other->blocks.size() : 0;
  if (num_free < static_cast<size_t>(num_free_needed(sequence)) + 1) return;
  while (!has_place_for(sequence)) {
    Sequence* const victim = choose_victim(draft);
    if (victim == nullptr || !victim->is_background()) return;
    preempt(*victim);
  }
}

void Scheduler::admit_waiting(Draft& draft) {
  bool has_background = std::any_of(running_.begin(), running_.end(), [](auto* s) { return s->is_background(); });
  if (draft.tokens_left == 0 || (free_slots_.empty() && !has_background)) return;
  gate_.open(waiting_, !running_.empty(), now_s_);
  size_t registered_tokens = 0;
  WaitingQueue::Order order(waiting_);
  while (draft.tokens_left > 0) {
    Sequence* const sequence = order.next();
    if (sequence == nullptr) break;
    if (!may_start(*sequence) || !gate_.lets_in(*sequence)) continue;
    const bool is_beside = sequence->is_background() && draft.holds_back;
    if (is_beside && has_background) continue;
    if (chunk_of(*sequence, draft) == 0 || !has_room_for(*sequence, draft)) break;
    if (!sequence->is_background()) make_way(*sequence, draft);
    if (!has_place_for(*sequence)) break;
    const size_t with_it =
        sequence->sampling.num_listed() + (sequence->sampling.needs_tokens() ? sequence->tokens.size() : 0);
    if (registered_tokens > 0 && registered_tokens + with_it > kMaxRegistrationTokens) break;
    registered_tokens += with_it;
    admit(*sequence, draft);
    has_background |= sequence->is_background();
    const int num_tokens = std::max(chunk_of(*sequence, draft), 1);
    if (!add_row(*sequence, is_beside ? std::min(num_tokens, kBackgroundTokens) : num_tokens, draft, true)) break;
  }
}

/// Every prompt position has to be run for its logits, or for the sum of all hidden states.
bool Scheduler::runs_whole_prompt(const Sequence& sequence) {
  const bool wants_logprobs =
      sequence.sampling.num_prompt_logprobs >= 0 && sequence.num_prompt_logprobs < sequence.num_prompt - 1;
  return wants_logprobs || sequence.pooling == Pooling::mean;
}

/// Blocks that the tokens of a waiting sequence take from the free list: those that others use already cost nothing.
int Scheduler::num_free_needed(const Sequence& sequence) const {
  const int total = blocks_for(static_cast<int64_t>(sequence.tokens.size()));
  if (runs_whole_prompt(sequence)) return total;
  return total -
         std::max(num_shareable(sequence), pool_.count_cached(root_key(sequence.cache_salt), sequence.tokens).in_use);
}

/// Full prompt blocks that choice 0 of the same request holds.
int Scheduler::num_shareable(const Sequence& sequence) const {
  const Sequence* first = sequence.is_first() ? nullptr : find(sequence.first_choice);
  if (!first || !first->running) return 0;
  const int in_tokens =
      std::min({static_cast<int>(sequence.tokens.size()) - 1, first->num_prompt, first->num_scheduled});
  return in_tokens / kBlockTokens;
}

void Scheduler::admit(Sequence& sequence, Draft& draft) {
  waiting_.start(&sequence);
  running_.push_back(&sequence);
  sequence.running = true;
  sequence.slot = free_slots_.back();
  free_slots_.pop_back();
  sequence.generation = ++generations_[sequence.slot];
  take_cached_blocks(sequence);
  if (!sequence.admitted_before) {
    sequence.num_cached = std::min(sequence.num_scheduled, sequence.num_prompt);
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
  if (sequence.sampling.needs_tokens()) registration.tokens = sequence.tokens;
  draft.batch.registrations.push_back(std::move(registration));
}

/// Full blocks of the prefix that are already computed: choice 0's, or those in the cache. At least one token is left
/// to run.
void Scheduler::take_cached_blocks(Sequence& sequence) {
  ECHELON_CHECK(sequence.blocks.empty() && sequence.num_scheduled == 0);
  sequence.keys.clear();
  if (runs_whole_prompt(sequence)) return;
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
  row.sum = sequence.pooling == Pooling::mean;
  row.pool = sequence.pooling != Pooling::none && num_tokens == sequence.num_pending();
  row.sample = sequence.pooling == Pooling::none && num_tokens == sequence.num_pending();
  row.masked = row.sample && sequence.masked;
  if (sequence.sampling.num_prompt_logprobs >= 0) add_targets(sequence, row, draft);
  if (row.first_position < static_cast<int>(sequence.tokens.size())) {
    const auto tokens = sequence.tokens.begin() + row.first_position;
    draft.batch.tokens.insert(draft.batch.tokens.end(), tokens, tokens + num_tokens);
  } else {
    draft.batch.tokens.push_back(kFedBackToken);
  }
  draft.batch.new_blocks.insert(draft.batch.new_blocks.end(), sequence.blocks.begin() + blocks_before,
                                sequence.blocks.end());
  draft.batch.rows.push_back(row);
  if (row.masked) {
    draft.masked.rows.push_back({.sequence = sequence.id,
                                 .slot = row.slot,
                                 .generation = row.generation,
                                 .position = row.first_position + num_tokens});
  }
  draft.record.rows.push_back({.sequence = sequence.id,
                               .slot = sequence.slot,
                               .generation = sequence.generation,
                               .sample = row.sample,
                               .pool = row.pool,
                               .num_targets = row.num_targets});
  draft.members.push_back(&sequence);
  draft.tokens_left -= num_tokens;
  draft.vectors_left -= row.pool ? 1 : 0;
  if (row.sample && num_tokens == 1) {
    draft.record.shape.add_decode(row.first_position);
  } else {
    draft.record.shape.add_prompt(row.first_position, num_tokens);
    draft.seconds_left -= cost_.prompt_seconds(row.first_position, num_tokens);
  }
  sequence.num_scheduled += num_tokens;
  ++sequence.num_in_flight;
  if (options_.feed_back && row.sample) ++sequence.num_fed_back;
  publish_full_blocks(sequence);
  return true;
}

/// Position p gives the log-probability of prompt token p + 1; those delivered before a preemption are not asked for
/// again.
void Scheduler::add_targets(const Sequence& sequence, PlanRow& row, Draft& draft) {
  const int from = std::max(row.first_position, sequence.num_prompt_logprobs);
  const int to = std::min(row.first_position + row.num_tokens, sequence.num_prompt - 1);
  if (to <= from) return;
  row.targets_from = from - row.first_position;
  row.num_targets = to - from;
  for (int p = from; p < to; ++p) draft.batch.targets.push_back(sequence.tokens[p + 1]);
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

}  // namespace echelon
