// What the scheduler plans in one situation each, against a model that answers with a hash of the prefix. That every
// sequence gets the tokens it would get alone, whatever happens, is tests/simulation.
#include "engine/schedule/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>

#include "engine/schedule/wire.h"

namespace echelon {
namespace {

constexpr TokenId kVocab = 1000;

TokenId hash_of(std::span<const TokenId> prefix, int choice) {
  uint64_t hash = 0x12345 + static_cast<uint64_t>(choice);
  for (const TokenId token : prefix) hash = (hash ^ static_cast<uint64_t>(token)) * 0x100000001b3u;
  return static_cast<TokenId>((hash >> 20) % kVocab);
}

/// Stands in for the ranks: knows blocks only by what plans wrote into them, so that a block used wrongly gives a wrong
/// token.
class HashModel {
 public:
  explicit HashModel(int num_blocks) : memory_(num_blocks, std::vector<TokenId>(kBlockTokens, -1)) {}

  StepResult run(const MicroBatch& batch) {
    for (const SlotRegistration& slot : batch.registrations) {
      slots_[slot.slot] = {};
      slots_[slot.slot].generation = slot.generation;
      slots_[slot.slot].choice = slot.choice;
    }
    StepResult result{.epoch = batch.epoch, .number = batch.number, .rows = {}};
    size_t token = 0, block = 0, target = 0;
    for (const PlanRow& row : batch.rows) {
      Slot& slot = slots_.at(row.slot);
      EXPECT_EQ(slot.generation, row.generation);
      for (int i = 0; i < row.num_new_blocks; ++i) slot.blocks.push_back(batch.new_blocks[block++]);
      for (int i = 0; i < row.num_tokens; ++i) {
        const int position = row.first_position + i;
        const TokenId given = batch.tokens[token++];
        if (given == kFedBackToken) {
          EXPECT_EQ(position, slot.sampled_position);
        }
        memory_[slot.blocks.at(position / kBlockTokens)][position % kBlockTokens] =
            given == kFedBackToken ? slot.sampled : given;
      }
      std::vector<TokenId> prefix;
      for (int position = 0; position < row.first_position + row.num_tokens; ++position) {
        prefix.push_back(memory_[slot.blocks.at(position / kBlockTokens)][position % kBlockTokens]);
      }
      if (!row.sample && row.num_targets == 0) continue;
      RowResult answer{.slot = row.slot, .generation = row.generation, .sampled = row.sample};
      for (int i = 0; i < row.num_targets; ++i) {
        EXPECT_LE(row.first_position + row.targets_from + i + 1, static_cast<int>(prefix.size()));
        answer.prompt_logprobs.push_back(
            {.token = batch.targets[target++], .logprob = 0, .rank = row.first_position + row.targets_from + i});
      }
      if (row.sample) {
        answer.token.token = slot.sampled = hash_of(prefix, slot.choice);
        slot.sampled_position = row.first_position + row.num_tokens;
      }
      result.rows.push_back(std::move(answer));
    }
    return result;
  }

 private:
  struct Slot {
    uint32_t generation = 0;
    int choice = 0;
    std::vector<int> blocks;
    TokenId sampled = -1;
    int sampled_position = -1;
  };
  std::vector<std::vector<TokenId>> memory_;
  std::map<int, Slot> slots_;
};

std::vector<TokenId> alone(std::vector<TokenId> prompt, int choice, int max_tokens) {
  std::vector<TokenId> output;
  for (int i = 0; i < max_tokens; ++i) {
    output.push_back(hash_of(prompt, choice));
    prompt.push_back(output.back());
  }
  return output;
}

Sequence sequence(SequenceId id, int num_prompt, int max_tokens) {
  Sequence s;
  s.id = s.first_choice = s.order = id;
  s.sampling.max_tokens = max_tokens;
  for (int i = 0; i < num_prompt; ++i) s.tokens.push_back(static_cast<TokenId>(i + id * 1000));
  s.num_prompt = num_prompt;
  return s;
}

void add_one(Scheduler& scheduler, Sequence s) {
  std::vector<Sequence> one;
  one.push_back(std::move(s));
  scheduler.add(std::move(one));
}

TEST(Scheduler, SpreadsDecodesOverTheMicroBatchesInFlight) {
  Scheduler scheduler({.num_blocks = 100, .max_num_seqs = 8, .max_batch_tokens = 512, .depth = 2});
  HashModel model(100);
  for (SequenceId id = 1; id <= 8; ++id) add_one(scheduler, sequence(id, 4, 50));
  std::deque<MicroBatch> in_flight;
  for (int step = 0; step < 20; ++step) {
    while (auto batch = scheduler.next()) in_flight.push_back(*batch);
    if (step > 4) {
      ASSERT_EQ(in_flight.size(), 2u) << "step " << step;
      EXPECT_EQ(in_flight[0].rows.size(), 4u);
      EXPECT_EQ(in_flight[1].rows.size(), 4u);
    }
    scheduler.commit(model.run(in_flight.front()));
    in_flight.pop_front();
  }
}

TEST(Scheduler, PlansTheNextStepWhileOneRunsWhenTokensAreFedBack) {
  Scheduler scheduler({.num_blocks = 100, .max_num_seqs = 8, .max_batch_tokens = 512, .depth = 2, .feed_back = true});
  HashModel model(100);
  for (SequenceId id = 1; id <= 3; ++id) add_one(scheduler, sequence(id, 4, 5));
  std::deque<MicroBatch> in_flight = {*scheduler.next()};
  EXPECT_EQ(in_flight.back().tokens.size(), 12u);
  std::map<SequenceId, int> num_tokens;
  for (int step = 1; step <= 5; ++step) {
    const auto ahead = scheduler.next();
    ASSERT_EQ(ahead.has_value(), step < 5) << "the last token is not run";
    EXPECT_FALSE(scheduler.next()) << "two are in flight, or nothing is left";
    if (ahead) {
      EXPECT_EQ(ahead->tokens, std::vector<TokenId>(3, kFedBackToken)) << "all sequences, in every step";
      in_flight.push_back(*ahead);
    }
    for (const SequenceUpdate& update : scheduler.commit(model.run(in_flight.front()))) {
      EXPECT_EQ(update.finish.has_value(), ++num_tokens[update.sequence] == 5);
    }
    in_flight.pop_front();
  }
  EXPECT_TRUE(scheduler.is_idle());
}

TEST(Scheduler, WhatRunsBehindAnEndIsDropped) {
  Sequence s = sequence(1, 4, 5);
  const TokenId end = alone(s.tokens, 0, 1).at(0);
  Scheduler scheduler({.num_blocks = 10,
                       .max_num_seqs = 1,
                       .max_batch_tokens = 64,
                       .depth = 2,
                       .feed_back = true,
                       .end_tokens = {end}});
  HashModel model(10);
  add_one(scheduler, std::move(s));
  add_one(scheduler, sequence(2, 40, 1));
  const auto first = scheduler.next(), behind = scheduler.next();
  ASSERT_TRUE(first && behind);
  const auto updates = scheduler.commit(model.run(*first));
  ASSERT_EQ(updates.size(), 1u);
  EXPECT_EQ(updates[0].stop_token, end);
  const auto other = scheduler.next();  // takes the slot and the blocks at once
  ASSERT_TRUE(other);
  EXPECT_EQ(other->registrations.at(0).slot, first->rows.at(0).slot);
  EXPECT_TRUE(scheduler.commit(model.run(*behind)).empty());
  EXPECT_EQ(scheduler.commit(model.run(*other)).at(0).token->token, alone(sequence(2, 40, 1).tokens, 0, 1).at(0));
  EXPECT_TRUE(scheduler.is_idle());
  scheduler.check_integrity();
}

TEST(Scheduler, ChunksOfOnePromptFollowEachOtherWithoutWaiting) {
  Scheduler scheduler({.num_blocks = 100, .max_num_seqs = 8, .max_batch_tokens = 64, .depth = 3});
  add_one(scheduler, sequence(1, 1000, 5));
  for (int i = 0; i < 3; ++i) {
    const auto batch = scheduler.next();
    ASSERT_TRUE(batch);
    EXPECT_EQ(batch->rows.at(0).first_position, 64 * i);
    EXPECT_FALSE(batch->rows.at(0).sample);
  }
  EXPECT_FALSE(scheduler.next()) << "depth micro-batches are in flight";
}

TEST(Scheduler, PromptsAreLimitedOnlyWhileOthersDecode) {
  Scheduler scheduler({.num_blocks = 100, .max_num_seqs = 8, .max_batch_tokens = 64, .depth = 1});
  HashModel model(100);
  scheduler.set_prompt_limit(10);
  add_one(scheduler, sequence(1, 60, 3));
  auto batch = scheduler.next();
  EXPECT_EQ(batch->tokens.size(), 60u) << "nobody waits for it";
  scheduler.commit(model.run(*batch));
  add_one(scheduler, sequence(2, 60, 3));
  for (int step = 0; step < 2; ++step) {
    batch = scheduler.next();
    EXPECT_EQ(batch->tokens.size(), 11u) << "a decode, and 10 tokens of the prompt";
    scheduler.commit(model.run(*batch));
  }
  EXPECT_EQ(scheduler.next()->tokens.size(), 40u) << "the other has ended";
}

TEST(Scheduler, SharesThePromptsBlocksBetweenChoicesWithoutTheCache) {
  Scheduler scheduler(
      {.num_blocks = 12, .max_num_seqs = 8, .max_batch_tokens = 512, .depth = 1, .prefix_cache = false});
  HashModel model(12);
  std::vector<Sequence> choices;
  for (int i = 0; i < 3; ++i) {
    Sequence s = sequence(1, 200, 4);
    s.id = s.order = static_cast<SequenceId>(i + 1);
    s.choice = i;
    choices.push_back(std::move(s));
  }
  scheduler.add(std::move(choices));
  scheduler.commit(model.run(*scheduler.next()));
  const auto batch = scheduler.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(scheduler.num_running(), 3) << "12 blocks hold one prompt of 7 blocks three times only if it is shared";
  EXPECT_EQ(scheduler.num_preemptions(), 0u);
}

Sequence of_tenant(TenantId tenant, SequenceId id, int num_prompt, int max_tokens) {
  Sequence s = sequence(id, num_prompt, max_tokens);
  s.tenant = tenant;
  return s;
}

/// Tenants in the order in which their requests ended, from one step on.
struct Served {
  explicit Served(int max_num_seqs)
      : scheduler({.num_blocks = 400, .max_num_seqs = max_num_seqs, .max_batch_tokens = 512, .prefix_cache = false}) {}

  void run(int num_steps) {
    while (num_steps-- > 0) {
      const auto batch = scheduler.next();
      if (!batch) return;
      std::map<SequenceId, TenantId> tenants;
      for (SequenceId id = 1; id < 1000; ++id) {
        if (const Sequence* s = scheduler.find(id)) tenants[id] = s->tenant;
      }
      for (const SequenceUpdate& update : scheduler.commit(model.run(*batch))) {
        ++tokens[tenants.at(update.sequence)];
        if (update.finish) ended.push_back(tenants.at(update.sequence));
      }
    }
  }
  int64_t num_ended(TenantId tenant) const { return std::count(ended.begin(), ended.end(), tenant); }

  Scheduler scheduler;
  HashModel model{400};
  std::vector<TenantId> ended;
  std::map<TenantId, int> tokens;
};

TEST(Fairness, ATenantDoesNotWaitForAllThatAnotherSentBefore) {
  Served served(2);
  SequenceId id = 1;
  for (int i = 0; i < 50; ++i) add_one(served.scheduler, of_tenant(1, id++, 20, 5));
  served.run(7);
  for (int i = 0; i < 10; ++i) add_one(served.scheduler, of_tenant(2, id++, 20, 5));
  const int64_t before = served.num_ended(1);
  while (served.num_ended(2) < 10) served.run(1);
  EXPECT_LE(served.num_ended(1) - before, 10 + 2 + 1) << "in turn, but for those that ran already";
  EXPECT_GE(served.num_ended(1) - before, 10 - 2 - 1);
  served.run(1000);
  EXPECT_EQ(served.num_ended(1), 50);
}

TEST(Fairness, IsByTokensNotByRequests) {
  Served served(2);
  SequenceId id = 1;
  for (int i = 0; i < 20; ++i) add_one(served.scheduler, of_tenant(1, id++, 150, 50));  // 200 tokens each
  for (int i = 0; i < 80; ++i) add_one(served.scheduler, of_tenant(2, id++, 45, 5));    // 50
  while (served.num_ended(1) < 10) served.run(1);
  EXPECT_NEAR(static_cast<double>(served.num_ended(2)), 40, 4 + 2)
      << "what one of the long ones takes, and two running";
}

TEST(Fairness, AWeightIsAShare) {
  Served served(2);
  SequenceId id = 1;
  for (int i = 0; i < 120; ++i) {
    Sequence heavy = of_tenant(1, id++, 20, 5);
    heavy.weight = 3;
    add_one(served.scheduler, heavy);
    add_one(served.scheduler, of_tenant(2, id++, 20, 5));
  }
  while (served.ended.size() < 80) served.run(1);
  EXPECT_NEAR(static_cast<double>(served.num_ended(1)) / static_cast<double>(served.num_ended(2)), 3, 0.5);
}

TEST(Fairness, ATenantThatWasAwayHasNoCredit) {
  Served served(1);
  SequenceId id = 1;
  for (int i = 0; i < 60; ++i) add_one(served.scheduler, of_tenant(1, id++, 20, 5));
  while (served.num_ended(1) < 30) served.run(1);
  for (int i = 0; i < 20; ++i) add_one(served.scheduler, of_tenant(2, id++, 20, 5));
  served.ended.clear();
  while (served.ended.size() < 20) served.run(1);
  EXPECT_NEAR(static_cast<double>(served.num_ended(1)), 10, 1);
}

TEST(Fairness, ClassesComeBeforeTenants) {
  Served served(1);
  Sequence urgent = of_tenant(1, 40, 20, 5);
  for (SequenceId id = 1; id <= 10; ++id) add_one(served.scheduler, of_tenant(1, id, 20, 5));
  for (SequenceId id = 11; id <= 20; ++id) add_one(served.scheduler, of_tenant(2, id, 20, 5));
  served.run(12);
  urgent.priority = -1;
  add_one(served.scheduler, std::move(urgent));
  while (served.scheduler.find(40) != nullptr) {
    ASSERT_LE(served.ended.size(), 4u) << "it starts when the one that runs has ended";
    served.run(1);
  }
}

TEST(Scheduler, RefusesResultsThatWereNotPlanned) {
  Scheduler scheduler({.num_blocks = 10, .max_num_seqs = 2, .max_batch_tokens = 64, .depth = 1});
  HashModel model(10);
  add_one(scheduler, sequence(1, 10, 5));
  const auto batch = scheduler.next();
  StepResult good = model.run(*batch);
  StepResult wrong = good;
  wrong.number = 7;
  EXPECT_THROW(scheduler.commit(wrong), WireError);
  wrong = good;
  wrong.rows[0].generation += 1;
  EXPECT_THROW(Scheduler(scheduler.options()).commit(wrong), WireError);
}

TEST(MicroBatch, BytesThatWereNotEncodedAreRefused) {
  Scheduler scheduler({.num_blocks = 10, .max_num_seqs = 2, .max_batch_tokens = 64, .depth = 1});
  add_one(scheduler, sequence(1, 40, 5));
  const std::vector<std::byte> good = encode(*scheduler.next());
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THROW(decode_micro_batch(std::span(good).first(size)), WireError) << size;
  }
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {  // any outcome but a crash or a huge allocation
    std::vector<std::byte> bytes = good;
    for (unsigned flips = 1 + random() % 4; flips > 0; --flips)
      bytes[random() % bytes.size()] ^= static_cast<std::byte>(1u << (random() % 8));
    try {
      const MicroBatch batch = decode_micro_batch(bytes);
      EXPECT_LE(batch.tokens.size(), bytes.size());
    } catch (const WireError&) {
    }
  }
}

}  // namespace
}  // namespace echelon
