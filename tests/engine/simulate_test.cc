// The simulated job against what follows from the costs by hand, and against itself.
#include "engine/planner/simulate.h"

#include <gtest/gtest.h>

#include "kernels/base/error.h"
#include "kernels/base/limits.h"
#include "tests/engine/single_rank.h"

namespace echelon {
namespace {

/// Every layer takes 1 ms whatever runs: a pass through SmolLM2's 30 layers 30 ms.
Device clockwork() {
  Device device{.name = "clockwork"};
  device.rank = {.bytes_per_s = 1e18, .products = {1e18, 1e18, 1e18}, .attention = 1e18, .decode_attention = 1e18};
  device.within_host = device.between_hosts = {.bytes_per_s = 1e18, .latency_s = 0};
  device.layer_latency_s = 1e-3;
  device.kv_share = 0.5;
  return device;
}

class SimulatedJobs : public ::testing::Test {
 protected:
  Simulated run(const Load& load, const Arrivals& arrivals, LayoutSizes sizes = {}) const {
    RankHosts hosts{.kv_share = 0.5};
    for (int rank = 0; rank < sizes.num_ranks(); ++rank) {
      hosts.host_of_rank.push_back(0);
      hosts.rank_bytes.push_back(uint64_t{1} << 30);
    }
    return simulate_job(model_.files, options_, clockwork(), hosts, load, arrivals, sizes);
  }

  const OpenModel model_ = open_model(smollm2());
  EngineOptions options_{.max_model_len = 2048, .max_num_seqs = 32, .max_batch_tokens = 100, .isa = best_cpu_isa()};
};

TEST_F(SimulatedJobs, ALoneClientGetsWhatTheCostsSay) {
  const Simulated job = run({.prompt_tokens = 250, .output_tokens = 11, .concurrency = 1}, {.num_requests = 4});
  EXPECT_NEAR(job.ttft_p50, 3 * 0.030, 1e-6) << "chunks of 100, 100 and 50";
  EXPECT_NEAR(job.itl_p99, 0.030, 1e-6);
  EXPECT_NEAR(job.tpot_p50, 0.030, 1e-6);
  EXPECT_NEAR(job.seconds, 4 * (3 + 10) * 0.030, 1e-5);
  EXPECT_NEAR(job.output_tokens_per_s, 44 / job.seconds, 1e-6);
  EXPECT_NEAR(job.bubble_share, 0, 1e-6);
}

TEST_F(SimulatedJobs, StagesOverlapForManyAndNotForOne) {
  const Load one{.prompt_tokens = 32, .output_tokens = 101, .concurrency = 1};
  const Load many{.prompt_tokens = 32, .output_tokens = 101, .concurrency = 12};
  const LayoutSizes three{.dp = 1, .tp = 1, .pp = 3};
  options_.layers_per_stage = {10, 10, 10};
  const Simulated alone = run(one, {.num_requests = 2}, three), full = run(many, {.num_requests = 48}, three);
  EXPECT_NEAR(alone.itl_p50, 0.030, 1e-6) << "through all stages";
  EXPECT_NEAR(alone.bubble_share, 2.0 / 3, 0.02);
  EXPECT_LT(full.bubble_share, 0.05);
  EXPECT_NEAR(full.itl_p50, 0.030, 1e-6) << "three micro-batches of 10 ms a stage, in turn";
  EXPECT_GT(full.output_tokens_per_s, 0.9 * 12 / 0.030);
}

TEST_F(SimulatedJobs, ReplicasAddUp) {
  const Load load{.prompt_tokens = 32, .output_tokens = 50, .concurrency = 16};
  const double one = run(load, {.num_requests = 16}).output_tokens_per_s;
  const double two = run(load, {.num_requests = 64}, {.dp = 2, .tp = 1, .pp = 1}).output_tokens_per_s;
  EXPECT_NEAR(two / one, 1, 0.1) << "with a cost that does not depend on the rows a batch of 16 is as fast as two of 8";
  options_.max_num_seqs = 8;
  EXPECT_NEAR(run(load, {.num_requests = 64}, {.dp = 2, .tp = 1, .pp = 1}).output_tokens_per_s /
                  run(load, {.num_requests = 64}).output_tokens_per_s,
              2, 0.1);
}

TEST_F(SimulatedJobs, BelowWhatItCanTheJobGivesWhatIsAsked) {
  const Load load{.prompt_tokens = 32, .output_tokens = 20};
  const Arrivals slow{.num_requests = 400, .per_second = 4, .seed = 5};
  const Simulated job = run(load, slow), again = run(load, slow);
  EXPECT_NEAR(job.output_tokens_per_s, 4 * 20, 10);
  EXPECT_EQ(job.ttft_p99, again.ttft_p99) << "the same seed is the same run";
  const Simulated fast = run(load, {.num_requests = 400, .per_second = 400, .seed = 5});
  EXPECT_GT(fast.ttft_p50, 3 * job.ttft_p50) << "they wait";
  EXPECT_LT(fast.output_tokens_per_s, 32 / 0.030);
  EXPECT_GT(fast.output_tokens_per_s, 0.8 * 32 / 0.030);
}

TEST_F(SimulatedJobs, WhatDoesNotFitIsAnError) {
  options_.num_kv_blocks = 1 << 20;
  EXPECT_THROW(run({.concurrency = 1}, {.num_requests = 1}), Error);
}

}  // namespace
}  // namespace echelon
