// Which replica a request goes to.
#include "engine/schedule/placement.h"

#include <gtest/gtest.h>

#include "tests/engine/hash_model.h"

namespace echelon {
namespace {

struct Replicas {
  explicit Replicas(int count) {
    for (int i = 0; i < count; ++i) {
      all.push_back(std::make_unique<Replica>(SchedulerOptions{.num_blocks = 100, .max_batch_tokens = 512}));
      models.emplace_back(100);
    }
  }
  /// Runs all that waits on one, a micro-batch taking so long.
  void run(size_t index, double seconds = 0.001) {
    while (auto batch = all[index]->next(now_s)) {
      now_s += seconds;
      all[index]->commit(models[index].run(*batch), now_s);
    }
  }
  std::vector<std::unique_ptr<Replica>> all;
  std::vector<HashModel> models;
  double now_s = 1;
};

TEST(Placement, InTurnWhateverTheyDo) {
  Replicas replicas(3);
  add_one(replicas.all[1]->scheduler(), sequence(1, 100, 5));
  Placement placement(Balance::round_robin);
  for (const size_t expected : {0, 1, 2, 0, 1}) EXPECT_EQ(placement.choose(replicas.all, {}, 0), expected);
}

TEST(Placement, ToTheOneWithTheFewestTokensToRun) {
  Replicas replicas(3);
  add_one(replicas.all[0]->scheduler(), sequence(1, 100, 5));
  add_one(replicas.all[2]->scheduler(), sequence(2, 20, 5));
  Placement placement(Balance::least_loaded);
  EXPECT_EQ(placement.choose(replicas.all, sequence(3, 64, 5).tokens, 0), 1u);
  add_one(replicas.all[1]->scheduler(), sequence(4, 50, 5));
  EXPECT_EQ(placement.choose(replicas.all, sequence(3, 64, 5).tokens, 0), 2u);
}

TEST(Placement, WhereItsPrefixIsUnlessTooMuchWaitsThere) {
  Replicas replicas(2);
  const Sequence first = sequence(1, 200, 1);
  add_one(replicas.all[1]->scheduler(), first);
  replicas.run(1);
  Placement placement(Balance::prefix);
  EXPECT_EQ(placement.choose(replicas.all, first.tokens, 0), 1u);
  EXPECT_EQ(placement.choose(replicas.all, first.tokens, 7), 0u) << "another's prefix is none";
  EXPECT_EQ(placement.choose(replicas.all, sequence(2, 200, 1).tokens, 0), 0u) << "ties go to the first";
  add_one(replicas.all[1]->scheduler(), sequence(3, 150, 5));
  EXPECT_EQ(placement.choose(replicas.all, first.tokens, 0), 1u) << "192 tokens are known, 151 wait";
  add_one(replicas.all[1]->scheduler(), sequence(4, 300, 5));
  EXPECT_EQ(placement.choose(replicas.all, first.tokens, 0), 0u);
}

TEST(Placement, ByTimeASlowReplicaGetsLess) {
  Replicas replicas(2);
  for (size_t i = 0; i < 2; ++i) {
    add_one(replicas.all[i]->scheduler(), sequence(1 + i, 100, 20));
    replicas.run(i, i == 0 ? 0.010 : 0.001);
  }
  EXPECT_NEAR(replicas.all[0]->seconds_per_token() / replicas.all[1]->seconds_per_token(), 10, 0.1);
  add_one(replicas.all[1]->scheduler(), sequence(5, 300, 5));
  const std::vector<TokenId> prompt = sequence(6, 64, 5).tokens;
  EXPECT_EQ(Placement(Balance::latency).choose(replicas.all, prompt, 0), 1u)
      << "301 tokens wait there, none here, ten times as slow";
  EXPECT_EQ(Placement(Balance::prefix).choose(replicas.all, prompt, 0), 0u);
}

}  // namespace
}  // namespace echelon
