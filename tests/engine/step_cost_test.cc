// What micro-batches take, learned from machines that are lines, that are none, and that have hiccups; and what the
// scheduler makes of it.
#include "engine/schedule/step_cost.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <random>

#include "tests/engine/hash_model.h"

namespace echelon {
namespace {

constexpr int kMost = 512;

/// Seconds of a machine that is a line.
struct Machine {
  double fixed = 2e-3, decode = 20e-6, decode_key = 30e-9, prompt_token = 50e-6, prompt_key = 100e-9;
  double seconds(const StepShape& s) const {
    return fixed + decode * s.decodes + decode_key * s.decode_keys + prompt_token * s.prompt_tokens +
           prompt_key * s.prompt_keys;
  }
};

StepShape shape(int decodes, int position, int prompt_tokens, int first_position = 0) {
  StepShape made;
  for (int i = 0; i < decodes; ++i) made.add_decode(position);
  if (prompt_tokens > 0) made.add_prompt(first_position, prompt_tokens);
  return made;
}

TEST(StepCost, BeforeAnythingIsKnownTokensCostTheSame) {
  const StepCost cost;
  EXPECT_EQ(cost.seconds(shape(3, 1000, 7, 5000)), 10);
  EXPECT_EQ(cost.prompt_tokens_within(64, 10000, kMost), 64);
  EXPECT_EQ(cost.prompt_tokens_within(std::numeric_limits<double>::infinity(), 0, kMost), kMost);
}

TEST(StepCost, FindsTheLineOfAMachine) {
  std::mt19937 random(1);
  const auto below = [&](int end) { return static_cast<int>(random() % static_cast<unsigned>(end)); };
  const Machine machine;
  std::normal_distribution<double> noise(1, 0.03);
  StepCost cost;
  for (int i = 0; i < 2000; ++i) {
    const StepShape one = shape(below(64), below(4000), below(2) * below(kMost), below(8000));
    cost.observe(one, machine.seconds(one) * noise(random));
  }
  for (int i = 0; i < 100; ++i) {
    const StepShape one = shape(below(64), below(4000), below(2) * below(kMost), below(8000));
    EXPECT_NEAR(cost.seconds(one) / machine.seconds(one), 1, 0.1);
  }
  const int tokens = cost.prompt_tokens_within(10e-3, 4000, kMost);
  EXPECT_LE(cost.prompt_seconds(4000, tokens), 10e-3);
  EXPECT_GT(cost.prompt_seconds(4000, tokens + 1), 10e-3);
}

TEST(StepCost, PromptsAreNeverFreeHoweverLittleIsKnown) {
  StepCost cost;
  cost.observe(shape(0, 0, kMost), 20e-3);  // might all be fixed
  EXPECT_NEAR(cost.seconds(shape(0, 0, kMost)), 20e-3, 1e-3);
  EXPECT_GT(cost.prompt_seconds(0, kMost), 15e-3);
  EXPECT_LT(cost.prompt_tokens_within(10e-3, 0, kMost), 350);
}

TEST(StepCost, FollowsAMachineThatBecomesSlower) {
  StepCost cost;
  const Machine machine;
  const auto run = [&](int steps, double slower) {
    for (int i = 0; i < steps; ++i) {
      const StepShape one = shape(4, 100 + i % 7, i % 2 * 100);
      cost.observe(one, slower * machine.seconds(one));
    }
  };
  run(200, 1);
  run(100, 3);
  EXPECT_NEAR(cost.seconds(shape(4, 100, 100)) / machine.seconds(shape(4, 100, 100)), 3, 0.1);
  run(100, 1);
  EXPECT_NEAR(cost.seconds(shape(4, 100, 100)) / machine.seconds(shape(4, 100, 100)), 1, 0.1);
}

TEST(StepCost, OneHiccupIsNoPrice) {
  StepCost cost;
  const Machine machine;
  for (int i = 0; i < 100; ++i) {
    const StepShape one = shape(4, 100, i % 2 * 100);
    cost.observe(one, machine.seconds(one));
  }
  const double before = cost.prompt_seconds(0, 100);
  cost.observe(shape(4, 100, 100), 1.0);
  for (int i = 0; i < 8; ++i) cost.observe(shape(4, 100, 0), machine.seconds(shape(4, 100, 0)));
  EXPECT_LT(cost.prompt_seconds(0, 100), 1.5 * before);
}

TEST(StepCost, IsRightWhereMicroBatchesRunOnAMachineThatIsNoLine) {
  // Weights are read in the same time for 1 to 100 rows: 5 ms; after that a row takes 50 us.
  const auto seconds = [](const StepShape& s) { return std::max(5e-3, 50e-6 * (s.decodes + s.prompt_tokens)); };
  StepCost cost;
  for (int i = 0; i < 50; ++i) cost.observe(shape(1 + i % 4, 10, 0), seconds(shape(1 + i % 4, 10, 0)));
  for (int i = 0; i < 600; ++i) {
    const StepShape one = shape(8, 10, 200 + i % 50);
    cost.observe(one, seconds(one));
  }
  EXPECT_NEAR(cost.seconds(shape(8, 10, 230)) / seconds(shape(8, 10, 230)), 1, 0.05);
}

TEST(StepCost, TimesThatCannotBeAreNotHeard) {
  StepCost cost;
  for (const double seconds :
       {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    cost.observe(shape(1, 1, 1), seconds);
  EXPECT_EQ(cost.seconds(shape(1, 1, 1)), 2) << "still nothing is known";
  std::mt19937_64 random(2);
  for (int i = 0; i < 5000; ++i) {
    const auto draw = [&](int end) { return static_cast<int>(random() % static_cast<unsigned>(end)); };
    cost.observe(shape(draw(5), draw(1 << 20), draw(1 << 12), draw(1 << 20)), std::exp2(draw(60) - 40));
    const double price = cost.prompt_seconds(draw(1 << 20), 1 + draw(1000));
    ASSERT_GE(price, 0);
    ASSERT_TRUE(std::isfinite(price));
    const int tokens = cost.prompt_tokens_within(std::exp2(draw(40) - 20), draw(1 << 20), kMost);
    ASSERT_GE(tokens, 0);
    ASSERT_LE(tokens, kMost);
  }
}

// --- the scheduler ---

StepShape shape_of(const MicroBatch& batch) {
  StepShape made;
  for (const PlanRow& row : batch.rows) {
    if (row.sample && row.num_tokens == 1) {
      made.add_decode(row.first_position);
    } else {
      made.add_prompt(row.first_position, row.num_tokens);
    }
  }
  return made;
}

/// A scheduler whose stages are a line.
class Timed {
 public:
  Timed(SchedulerOptions options, Machine machine, bool tells_time = true)
      : scheduler(options), model_(options.num_blocks), machine_(machine), tells_time_(tells_time) {}

  /// Plans what may be in flight; commits the first. Its shape.
  StepShape step() {
    while (auto batch = scheduler.next()) in_flight_.push_back(std::move(*batch));
    const StepShape made = shape_of(in_flight_.front());
    StepResult result = model_.run(in_flight_.front());
    if (tells_time_) result.stage_us = static_cast<uint32_t>(1e6 * machine_.seconds(made));
    scheduler.commit(result);
    in_flight_.pop_front();
    return made;
  }

  Scheduler scheduler;

 private:
  HashModel model_;
  Machine machine_;
  bool tells_time_;
  std::deque<MicroBatch> in_flight_;
};

TEST(SchedulerTime, PromptsFillTheItlTargetBesideDecodesFromTheFirstOn) {
  const Machine machine;
  Timed timed({.num_blocks = 1000, .max_num_seqs = 8, .max_batch_tokens = kMost, .depth = 1, .itl_target_s = 10e-3},
              machine);
  add_one(timed.scheduler, sequence(1, 4, 2000));
  for (int i = 0; i < 10; ++i) timed.step();
  add_one(timed.scheduler, sequence(2, 8000, 1));
  StepShape last;
  for (int i = 0; timed.scheduler.find(2) != nullptr; ++i) {
    last = timed.step();
    ASSERT_LE(machine.seconds(last), 10.5e-3) << "step " << i << ", " << last.prompt_tokens << " prompt tokens";
    if (i > 8 && timed.scheduler.find(2) != nullptr) {
      ASSERT_GE(machine.seconds(last), 9e-3) << "step " << i << ", " << last.prompt_tokens << " prompt tokens";
    }
  }
  add_one(timed.scheduler, sequence(3, 400, 1));
  EXPECT_GT(timed.step().prompt_tokens, 120) << "known from before";
}

TEST(SchedulerTime, PromptsGetAQuarterWhereDecodesAloneTakeLonger) {
  const Machine machine{.fixed = 30e-3};
  Timed timed({.num_blocks = 1000, .max_num_seqs = 8, .max_batch_tokens = kMost, .depth = 1, .itl_target_s = 10e-3},
              machine);
  add_one(timed.scheduler, sequence(1, 4, 2000));
  for (int i = 0; i < 10; ++i) timed.step();
  add_one(timed.scheduler, sequence(2, 4000, 1));
  for (int i = 0; i < 20; ++i) timed.step();
  EXPECT_NEAR(machine.seconds(timed.step()), 37.5e-3, 1e-3);
}

TEST(SchedulerTime, WithoutADecodeOrATargetPromptsTakeTheWholeMicroBatch) {
  for (const double target_s : {0.0, 10e-3}) {
    Timed timed({.num_blocks = 2000, .max_num_seqs = 8, .max_batch_tokens = kMost, .itl_target_s = target_s},
                Machine());
    add_one(timed.scheduler, sequence(1, 6000, 20));
    for (int i = 0; i < 6; ++i) EXPECT_EQ(timed.step().prompt_tokens, kMost);
    if (target_s > 0) continue;
    while (!timed.scheduler.find(1)->in_decode()) timed.step();
    add_one(timed.scheduler, sequence(2, 6000, 1));
    EXPECT_EQ(timed.step().prompt_tokens, kMost - 1);
  }
}

/// The wall time of micro-batches that follow each other through stages of the same speed.
class Pipeline {
 public:
  explicit Pipeline(int num_stages) : done_s_(static_cast<size_t>(num_stages)) {}
  void run(double seconds) {
    double before_s = 0;
    for (double& done_s : done_s_) before_s = done_s = std::max(done_s, before_s) + seconds;
  }
  double wall_s() const { return done_s_.back(); }

 private:
  std::vector<double> done_s_;
};

TEST(SchedulerTime, PromptsOfDifferentDepthsGoThroughAPipelineAsOne) {
  // Keys are dear: a token at 12,000 takes five times one at the beginning.
  const Machine machine{.fixed = 1e-3, .prompt_token = 50e-6, .prompt_key = 17e-9};
  const auto run = [&](bool tell) {
    Timed timed({.num_blocks = 8000, .max_num_seqs = 8, .max_batch_tokens = kMost, .depth = 4}, machine, tell);
    Pipeline pipeline(4);
    double busy_s = 0;
    for (SequenceId id = 1; id <= 6; ++id) add_one(timed.scheduler, sequence(id, id % 2 ? 1000 : 16000, 1));
    while (!timed.scheduler.is_idle()) {
      const double seconds = machine.seconds(timed.step());
      pipeline.run(seconds);
      busy_s += seconds;
    }
    return pipeline.wall_s();
  };
  EXPECT_LT(run(true), run(false));
}

TEST(SchedulerTime, APromptBesideManyDecodesOfAPipelineComesToItsEnd) {
  Timed timed({.num_blocks = 4000, .max_num_seqs = 300, .max_batch_tokens = kMost, .depth = 2}, Machine());
  for (SequenceId id = 1; id <= 256; ++id) add_one(timed.scheduler, sequence(id, 4, 400));
  for (int i = 0; i < 40; ++i) timed.step();
  add_one(timed.scheduler, sequence(1000, 200, 1));
  int steps = 0;
  while (timed.scheduler.find(1000) != nullptr && steps < 100) timed.step(), ++steps;
  EXPECT_LE(steps, 12);
}

}  // namespace
}  // namespace echelon
