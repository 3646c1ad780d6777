// Plan and serve agree to the byte: what the planner says of a rank before anything is loaded is what the rank reports
// when it serves; and a forward pass moves the bytes that the planner counts.
#include <gtest/gtest.h>

#include "engine/host_memory.h"
#include "engine/planner/capacity.h"
#include "engine/planner/cost_model.h"
#include "tests/engine/local_cluster.h"

namespace echelon {
namespace {

/// Ranks of one host with a gibibyte each.
RankHosts hosts_for(int num_ranks) {
  return {.host_of_rank = std::vector<int>(static_cast<size_t>(num_ranks), 0),
          .rank_bytes = std::vector<uint64_t>(static_cast<size_t>(num_ranks), uint64_t{1} << 30)};
}

void expect_agreement(EngineOptions options, LayoutSizes sizes) {
  SCOPED_TRACE(Layout(sizes, std::vector<int>(static_cast<size_t>(sizes.num_ranks()), 0)).describe());
  LocalCluster cluster(options, sizes);
  cluster.wait_until_ready();
  const EngineMetrics metrics = cluster.engine().metrics();

  options.isa = best_cpu_isa();
  const OpenModel model = open_model(options.model.empty() ? smollm2() : options.model);
  const LayoutCapacity plan =
      layout_capacity(model.files, options, *backend_for_sizes(options), hosts_for(sizes.num_ranks()), sizes);
  ASSERT_TRUE(plan.fits()) << plan.refusal;
  EXPECT_EQ(metrics.kv_blocks_total, static_cast<uint64_t>(plan.num_blocks * sizes.dp));
  ASSERT_EQ(metrics.ranks.size(), plan.ranks.size());
  for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
    const RankBudget& planned = plan.ranks[rank];
    const RankMetrics& served = metrics.ranks[rank];
    EXPECT_EQ((Place{.dp = served.dp, .pp = served.pp, .tp = served.tp}), planned.place);
    EXPECT_GT(served.weight_bytes, 0u);
    EXPECT_EQ(served.weight_bytes, planned.memory.weights) << "rank " << rank;
    EXPECT_EQ(served.activation_bytes, planned.memory.activations) << "rank " << rank;
    EXPECT_EQ(served.kv_bytes, planned.kv_cache) << "rank " << rank;
  }
}

TEST(PlanAgrees, OnEveryLayoutAndCacheType) {
  for (const LayoutSizes sizes : {LayoutSizes{}, LayoutSizes{.tp = 2}, LayoutSizes{.tp = 3}, LayoutSizes{.pp = 2},
                                  LayoutSizes{.dp = 2}, LayoutSizes{.dp = 1, .tp = 2, .pp = 2}}) {
    for (const KvType type : {KvType::bf16, KvType::f32, KvType::int8}) {
      // 64 MiB of KV cache a rank: the rank with the largest blocks decides.
      expect_agreement({.max_model_len = 1024,
                        .max_num_seqs = 64,
                        .max_batch_tokens = 96,
                        .kv_memory_bytes = int64_t{64} << 20,
                        .kv_type = type},
                       sizes);
    }
  }
}

TEST(PlanAgrees, WithFloatProductsAnOwnCutAndMoreRanksThanHeads) {
  expect_agreement({.max_model_len = 256, .max_num_seqs = 3, .max_batch_tokens = 33, .compute = Compute::bf16}, {});
  expect_agreement({.layers_per_stage = {7, 20, 3}, .max_model_len = 256, .max_num_seqs = 4, .num_kv_blocks = 40},
                   {.pp = 3});
  expect_agreement({.max_model_len = 256, .max_num_seqs = 4, .max_batch_tokens = 16}, {.tp = 11});
  expect_agreement({.model = gemma3(), .max_model_len = 256, .max_num_seqs = 4, .max_batch_tokens = 64},
                   {.dp = 1, .tp = 3, .pp = 2});
}

/// The share of the free memory is the same arithmetic with a number that moves: here the number is given.
TEST(PlanAgrees, BlocksFromFreeMemory) {
  const OpenModel model = open_model(smollm2());
  const EngineOptions options{.max_model_len = 2048, .max_num_seqs = 64, .isa = best_cpu_isa()};
  const auto backend = backend_for_sizes(options);
  const Shard shard = make_shard(model.files.spec, {}, {}, layers_per_stage(options, model.files, 1));
  const RankMemory memory = rank_memory(model.files, shard, *backend, options);
  const uint64_t rank_bytes = memory.weights + memory.activations + 1000 * memory.kv_block;
  EXPECT_EQ(kv_blocks_that_fit(memory, options, model.files.spec, rank_bytes), 400);
  EXPECT_EQ(kv_blocks_that_fit(memory, options, model.files.spec, memory.weights), 0);
  EXPECT_EQ(kv_blocks_that_fit(memory, options, model.files.spec, uint64_t{1} << 50), 64 * 64);
}

/// Counts what it receives.
class CountingGroup final : public Communicator {
 public:
  explicit CountingGroup(std::unique_ptr<Communicator> group) : group_(std::move(group)) {}
  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  void send(int peer, std::span<const std::byte> bytes) override { group_->send(peer, bytes); }
  void receive(int peer, std::span<std::byte> out) override {
    count(out.size());
    group_->receive(peer, out);
  }
  void all_gather(std::span<const std::byte> mine, std::span<const std::span<std::byte>> out) override {
    count(of_others(out));
    group_->all_gather(mine, out);
  }
  void all_to_all(std::span<const std::span<const std::byte>> mine,
                  std::span<const std::span<std::byte>> out) override {
    count(of_others(out));
    group_->all_to_all(mine, out);
  }
  void abandon(const std::string& reason) override { group_->abandon(reason); }
  Traffic received;

 private:
  void count(size_t num_bytes) {
    received.bytes += static_cast<int64_t>(num_bytes);
    ++received.num_exchanges;
  }
  size_t of_others(std::span<const std::span<std::byte>> out) const {
    size_t total = 0;
    for (size_t peer = 0; peer < out.size(); ++peer) total += static_cast<int>(peer) == rank() ? 0 : out[peer].size();
    return total;
  }
  std::unique_ptr<Communicator> group_;
};

/// One part of a whole model, and what it received for a micro-batch of one sequence with one row of logits.
struct Part {
  Traffic received, planned;
};

Part run_part(const OpenModel& model, std::unique_ptr<Communicator> group, int tp, int num_rows) {
  CountingGroup counting(std::move(group));
  const EngineOptions options{.max_batch_tokens = num_rows, .isa = best_cpu_isa()};
  const auto backend = backend_for_sizes(options);
  const ModelSpec& spec = model.files.spec;
  const Shard shard =
      make_shard(spec, {.dp = 1, .tp = tp, .pp = 1}, {.dp = 0, .pp = 0, .tp = counting.rank()}, {spec.num_layers});
  const StageProfile profile = stage_profile(model.files, shard, *backend, options);
  StageModel stage(spec, shard, load_stage_weights(model.files, shard, *backend, nullptr), *backend, counting,
                   {.max_rows = num_rows, .max_model_len = 512, .num_blocks = 16}, model.rope_factors);
  std::vector<int32_t> blocks(16);
  for (int i = 0; i < 16; ++i) blocks[static_cast<size_t>(i)] = i;
  const std::vector<TokenId> tokens(static_cast<size_t>(num_rows), 5);
  const Segment segment{.first_row = 0, .num_rows = num_rows, .first_position = 0, .blocks = blocks};
  const BatchView batch{.tokens = tokens, .segments = std::span(&segment, 1)};
  stage.embed(batch);
  stage.run_layers(batch);
  stage.logits(std::vector<int>{num_rows - 1});
  const RowGroup rows{.count = 1, .num_rows = num_rows, .first_position = 0, .sampled = true};
  return {.received = counting.received, .planned = stage_traffic(profile, std::span(&rows, 1)).parts};
}

TEST(PlanAgrees, AForwardPassMovesTheBytesThatAreCounted) {
  const OpenModel model = open_model(smollm2());
  for (const int tp : {2, 3}) {
    for (const int num_rows : {1, 7, 113, 114, 200}) {  // 113 rows of 576 floats are the last below 256 KiB
      auto group = make_local_group(tp);
      std::vector<Part> parts(static_cast<size_t>(tp));
      std::vector<std::thread> threads;
      for (size_t part = 0; part < parts.size(); ++part) {
        threads.emplace_back([&, part] { parts[part] = run_part(model, std::move(group[part]), tp, num_rows); });
      }
      for (std::thread& thread : threads) thread.join();
      for (const Part& part : parts) {
        EXPECT_GT(part.planned.bytes, 0);
        EXPECT_EQ(part.received.bytes, part.planned.bytes) << "tp " << tp << ", " << num_rows << " rows";
        EXPECT_EQ(part.received.num_exchanges, part.planned.num_exchanges)
            << "tp " << tp << ", " << num_rows << " rows";
      }
    }
  }
}

}  // namespace
}  // namespace echelon
