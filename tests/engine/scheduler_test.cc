// What the scheduler plans in one situation each, against a model that answers with a hash of the prefix. That every
// sequence gets the tokens it would get alone, whatever happens, is tests/simulation.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>

#include "engine/schedule/wire.h"
#include "tests/engine/hash_model.h"

namespace echelon {
namespace {

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

Sequence background(SequenceId id, int num_prompt, int max_tokens) {
  Sequence s = sequence(id, num_prompt, max_tokens);
  s.priority = kBackgroundPriority;
  return s;
}

TEST(Scheduler, BackgroundWorkHasOneRowBesideOthersByTurns) {
  Scheduler scheduler({.num_blocks = 100, .max_num_seqs = 8, .max_batch_tokens = 512, .depth = 1});
  HashModel model(100);
  std::map<int, int> num_rows;  // of slots, while others run
  const auto step = [&] {
    const auto batch = scheduler.next();
    scheduler.commit(model.run(*batch));
    return *batch;
  };
  for (SequenceId id = 1; id <= 3; ++id) add_one(scheduler, background(id, 100, 50));
  EXPECT_EQ(step().tokens.size(), 300u) << "alone it runs like everything else";
  EXPECT_EQ(step().rows.size(), 3u);
  for (SequenceId id = 4; id <= 5; ++id) add_one(scheduler, sequence(id, 4, 10));
  step();  // they start
  for (int i = 0; i < 9; ++i) {
    const MicroBatch batch = step();
    ASSERT_EQ(batch.rows.size(), 3u) << "two that others wait for, and one behind them";
    for (const PlanRow& row : batch.rows) ++num_rows[row.slot];
  }
  std::vector<int> counts;
  for (const auto& [slot, count] : num_rows) counts.push_back(count);
  std::sort(counts.begin(), counts.end());
  EXPECT_EQ(counts, (std::vector<int>{3, 3, 3, 9, 9}));
  EXPECT_EQ(step().rows.size(), 3u) << "the others have ended";
  scheduler.check_integrity();
}

TEST(Scheduler, APromptInTheBackgroundRunsFewTokensBesideOthers) {
  Scheduler scheduler({.num_blocks = 100, .max_num_seqs = 8, .max_batch_tokens = 512, .depth = 1});
  HashModel model(100);
  add_one(scheduler, sequence(1, 4, 50));
  scheduler.commit(model.run(*scheduler.next()));
  add_one(scheduler, background(2, 400, 5));
  add_one(scheduler, background(3, 400, 5));
  for (int i = 0; i < 20; ++i) {
    const auto batch = scheduler.next();
    ASSERT_EQ(batch->rows.size(), 2u);
    EXPECT_LE(batch->tokens.size(), 17u);
    scheduler.commit(model.run(*batch));
  }
}

TEST(Scheduler, BackgroundWorkGivesItsPlaceToOthersThatWait) {
  Scheduler scheduler({.num_blocks = 12, .max_num_seqs = 2, .max_batch_tokens = 512, .depth = 1});
  HashModel model(12);
  const std::vector<TokenId> prompt = sequence(1, 40, 9).tokens;
  for (SequenceId id = 1; id <= 2; ++id) add_one(scheduler, background(id, 40, 9));
  std::map<SequenceId, std::vector<TokenId>> outputs;
  const auto step = [&] {
    const auto batch = scheduler.next();
    ASSERT_TRUE(batch);
    for (const SequenceUpdate& update : scheduler.commit(model.run(*batch)))
      outputs[update.sequence].push_back(update.token->token);
  };
  step();
  add_one(scheduler, sequence(3, 40, 3));
  add_one(scheduler, sequence(4, 300, 3));  // there are no blocks for it and another
  step();
  EXPECT_EQ(scheduler.num_preemptions(), 1u) << "the other one would not be enough for the fourth";
  EXPECT_EQ(outputs[3].size(), 1u);
  while (!scheduler.is_idle()) step();
  for (const auto& [id, max_tokens] : std::map<SequenceId, int>{{1, 9}, {2, 9}, {3, 3}, {4, 3}})
    EXPECT_EQ(outputs[id], alone(sequence(id, id == 4 ? 300 : 40, 9).tokens, 0, max_tokens)) << id;
  scheduler.check_integrity();
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
