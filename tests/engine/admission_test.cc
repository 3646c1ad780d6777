// Who starts when: batches, shares of tenants, classes. The model is hash_model.h.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>

#include "tests/engine/hash_model.h"

namespace echelon {
namespace {

/// Ids of those that start at each step, one string a step that starts any: "1,2 3".
std::string starts(Scheduler& scheduler, HashModel& model, double from_s, double to_s, double step_s) {
  std::string text;
  for (double now_s = from_s; now_s < to_s; now_s += step_s) {
    scheduler.set_time(now_s);
    const auto batch = scheduler.next();
    const std::vector<SequenceId> admitted = scheduler.take_admitted();
    if (!admitted.empty()) text += fmt::format("{}{}", text.empty() ? "" : " ", fmt::join(admitted, ","));
    if (batch) scheduler.commit(model.run(*batch));
  }
  return text;
}

Scheduler with_batching(BatchingOptions batching) {
  return Scheduler(
      {.num_blocks = 400, .max_num_seqs = 8, .max_batch_tokens = 512, .prefix_cache = false, .batching = batching});
}

TEST(BatchGate, StaticBatchesWaitForTheLongestOfTheOneBefore) {
  HashModel model{400};
  Scheduler scheduler = with_batching({.policy = Batching::fixed, .max_batch_size = 2, .max_wait_s = 100});
  for (SequenceId id = 1; id <= 5; ++id) add_one(scheduler, of_tenant(0, id, 20, id == 1 ? 30 : 3));
  EXPECT_EQ(starts(scheduler, model, 0, 29, 1), "1,2") << "2 has ended, 1 runs";
  EXPECT_EQ(starts(scheduler, model, 29, 60, 1), "3,4") << "5 alone waits for another";
  EXPECT_EQ(scheduler.wake_s(), 100);
  EXPECT_EQ(starts(scheduler, model, 60, 120, 1), "5");
}

TEST(BatchGate, DynamicBatchesStartBesideOthersWhenFullOrOldEnough) {
  HashModel model{400};
  Scheduler scheduler = with_batching({.policy = Batching::dynamic, .max_batch_size = 2, .max_wait_s = 10});
  for (SequenceId id = 1; id <= 5; ++id) add_one(scheduler, of_tenant(0, id, 20, 300));
  EXPECT_EQ(starts(scheduler, model, 0, 9.5, 1), "1,2 3,4");
  EXPECT_EQ(starts(scheduler, model, 9.5, 30, 1), "5");
}

TEST(BatchGate, AGroupHasPromptsOfOneLength) {
  HashModel model{400};
  Scheduler scheduler =
      with_batching({.policy = Batching::dynamic, .max_batch_size = 2, .max_wait_s = 10, .group_by_length = true});
  const int lengths[] = {20, 100, 31, 90, 120};
  for (SequenceId id = 1; id <= 5; ++id) add_one(scheduler, of_tenant(0, id, lengths[id - 1], 3));
  EXPECT_EQ(starts(scheduler, model, 0, 9, 1), "1,3 2,4");
  EXPECT_EQ(starts(scheduler, model, 9, 30, 1), "5");
}

TEST(BatchGate, ContinuousBatchesAreBoundedAndNeverWait) {
  HashModel model{400};
  Scheduler scheduler = with_batching({.max_batch_size = 2, .max_wait_s = 10});
  for (SequenceId id = 1; id <= 3; ++id) add_one(scheduler, of_tenant(0, id, 20, id == 1 ? 30 : 3));
  EXPECT_EQ(starts(scheduler, model, 0, 6, 1), "1,2 3");
  EXPECT_EQ(scheduler.wake_s(), std::numeric_limits<double>::infinity());
}

TEST(BatchGate, WhoLeavesAGroupDoesNotHoldItUp) {
  HashModel model{400};
  Scheduler scheduler({.num_blocks = 400,
                       .max_num_seqs = 8,
                       .max_batch_tokens = 20,
                       .prefix_cache = false,
                       .batching = {.policy = Batching::fixed, .max_batch_size = 3, .max_wait_s = 50}});
  for (SequenceId id = 1; id <= 4; ++id) add_one(scheduler, of_tenant(0, id, 20, 1));
  EXPECT_EQ(starts(scheduler, model, 0, 1, 1), "1") << "one prompt a step";
  scheduler.remove(2);
  scheduler.remove(3);
  EXPECT_EQ(starts(scheduler, model, 1, 10, 1), "4") << "the group's third place";
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

TEST(Fairness, ClassesThatAreNotTheBestGetATurn) {
  Served served(1);
  SequenceId id = 1;
  const auto add = [&](TenantId tenant, int priority) {
    Sequence sequence = of_tenant(tenant, id++, 20, 5);
    sequence.priority = priority;
    add_one(served.scheduler, std::move(sequence));
  };
  for (int i = 0; i < 2; ++i) add(1, 7), add(2, 3);
  for (int i = 0; i < 200; ++i) add(3, 0);
  std::vector<size_t> turns;  // of all that ended, the ones of other classes
  while (turns.size() < 4) {
    served.run(1);
    for (size_t at = turns.empty() ? 0 : turns.back() + 1; at < served.ended.size(); ++at) {
      if (served.ended[at] != 3) turns.push_back(at);
    }
    ASSERT_LE(served.ended.size(), 80u);
  }
  EXPECT_EQ(turns, (std::vector<size_t>{15, 31, 47, 63})) << "one of sixteen";
  EXPECT_EQ(served.ended[15], 1) << "the oldest, whatever its class";
  EXPECT_EQ(served.ended[31], 2);
}

}  // namespace
}  // namespace echelon
