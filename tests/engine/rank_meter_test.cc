// What a rank measures of itself: the work of its plans, and what its threads reach.
#include "engine/rank_meter.h"

#include <gtest/gtest.h>

#include "kernels/base/limits.h"

namespace echelon {
namespace {

const EngineOptions kOptions{.isa = best_cpu_isa(), .num_threads = 1};

StageProfile profile() {
  ModelSpec spec{.hidden = 64,
                 .intermediate = kMlpGrain,
                 .vocab = 256,
                 .num_layers = 1,
                 .num_heads = 1,
                 .num_kv_heads = 1,
                 .head_dim = 2};
  spec.layers.resize(1);
  StageProfile made{.spec = spec, .shard = make_shard(spec, {}, {}, {1})};
  made.layer_bytes = 1000;
  made.layer_macs = {10, 0, 0};
  return made;
}

TEST(RankMeter, CountsTheWorkOfItsPlansAndTellsOfEachOnce) {
  RankMeter meter;
  meter.set_profile(profile());
  MicroBatch batch;
  batch.rows = {{.num_tokens = 3}, {.first_position = 7, .num_tokens = 1, .sample = true}};
  for (int i = 0; i < 2; ++i) {
    meter.clock().last.number = static_cast<uint64_t>(i + 1);
    meter.note_ran(batch);
  }
  RankStatus status;
  meter.report(status);
  EXPECT_EQ(status.metrics.work.bytes, 2 * 1000);
  EXPECT_EQ(status.metrics.work.operations[0], 2 * 2 * 4 * 10) << "two operations a multiply-add, four rows";
  EXPECT_EQ(status.first_span, 1u);
  EXPECT_EQ(status.spans.size(), 2u);
  meter.report(status);
  EXPECT_TRUE(status.spans.empty());
}

TEST(RankMeter, MeasuresOnceAtFirstAndAgainWhenItHasComputed) {
  RankMeter meter;
  RankStatus status;
  int steps = 0;
  for (; meter.wants_to_measure() && steps < 100; ++steps) {
    EXPECT_FALSE(meter.has_ceiling());
    meter.report(status);
    EXPECT_EQ(status.metrics.ceiling.bytes, 0) << "none is told before all are known";
    meter.measure_ceiling(kOptions, 1);
  }
  EXPECT_EQ(steps, CeilingMeasurement::kNumSteps);
  meter.report(status);
  EXPECT_TRUE(meter.has_ceiling());
  EXPECT_GT(status.metrics.ceiling.bytes, 1e8);
  for (const double rate : status.metrics.ceiling.operations) EXPECT_GT(rate, 1e8);

  const StageWork before = status.metrics.ceiling;
  meter.clock().busy_seconds = 1;
  for (; meter.wants_to_measure() && steps < 100; ++steps) meter.measure_ceiling(kOptions, 1);
  EXPECT_EQ(steps, 3 * CeilingMeasurement::kNumSteps);
  meter.report(status);
  EXPECT_GE(status.metrics.ceiling.bytes, before.bytes) << "the best is kept";
  EXPECT_GE(status.metrics.ceiling.operations[0], before.operations[0]);
}

TEST(RankMeter, DoesNotMeasureWhereMemoryIsShort) {
  RankMeter meter;
  meter.measure_ceiling(kOptions, 1 << 30);
  EXPECT_FALSE(meter.wants_to_measure());
  EXPECT_FALSE(meter.has_ceiling());
}

}  // namespace
}  // namespace echelon
