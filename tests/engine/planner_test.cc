// The planner's arithmetic, by hand for small cases: keys and bytes of a stage, traffic, what binds; which layouts
// there are, which are refused and why, and which is best.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/planner/plan.h"
#include "kernels/base/error.h"
#include "kernels/base/limits.h"
#include "tests/engine/single_rank.h"

namespace echelon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// 1 byte per second, 1 operation per second, links of 1 byte per second without latency.
Device slow_device() {
  Device device{.name = "slow"};
  device.rank = {.bytes_per_s = 1, .products = {1, 1, 1}, .attention = 1, .decode_attention = 1};
  device.within_host = device.between_hosts = {.bytes_per_s = 1, .latency_s = 0};
  device.kv_share = 0.5;
  return device;
}

/// Two layers, the second with a window of 4 keys; part `part` of `tp`, 24 heads of 2.
StageProfile small_profile(int tp = 1, int part = 0) {
  ModelSpec spec{.hidden = 64,
                 .intermediate = 24 * kMlpGrain,
                 .vocab = 256,
                 .num_layers = 2,
                 .num_heads = 24,
                 .num_kv_heads = 24,
                 .head_dim = 2};
  spec.layers = {{.window = 0}, {.window = 4}};
  const Shard shard = make_shard(spec, {.dp = 1, .tp = tp, .pp = 1}, {.dp = 0, .pp = 0, .tp = part}, {2});
  StageProfile profile{.spec = spec, .shard = shard};
  profile.layer_bytes = 1000;
  profile.head_bytes = 100;
  profile.layer_macs = {10, 20, 0};
  profile.head_macs = {5, 0, 0};
  profile.kv_token_bytes = 8;
  return profile;
}

StageCost cost_of(const StageProfile& profile, const RowGroup& rows, const Device& device, Surroundings around = {}) {
  return stage_cost(profile, std::span(&rows, 1), device, around);
}

TEST(CostModel, ADecodedTokenReadsWeightsOnceAndTheKeysItSees) {
  const StageCost cost = cost_of(small_profile(), {.count = 3, .num_rows = 1, .first_position = 9}, slow_device());
  // 10 keys in the first layer, 4 in the second, of each of three sequences.
  EXPECT_DOUBLE_EQ(cost.memory, 1000 + 100 + 3 * (10 + 4) * 8);
  // Two operations a multiply-add; queries with keys and weights with values: 24 heads of 2.
  EXPECT_DOUBLE_EQ(cost.compute, 2 * 3 * (10 + 20 + 5) + 2 * 2 * 3 * (10 + 4) * 24 * 2);
  EXPECT_DOUBLE_EQ(cost.link, 0);
  // One phase after the other: of layers, head and attention the longer of memory and arithmetic.
  EXPECT_DOUBLE_EQ(cost.total(), 1000 + 100 + 2 * 2 * 3 * (10 + 4) * 24 * 2);
}

TEST(CostModel, FewRowsDoNotFillTheUnits) {
  const RowRate rate(std::array<double, 5>{10, 20, 40, 80, 160});
  EXPECT_DOUBLE_EQ(rate.at(1), 10);
  EXPECT_DOUBLE_EQ(rate.at(16), 40);
  EXPECT_DOUBLE_EQ(rate.at(256), 160);
  EXPECT_DOUBLE_EQ(rate.at(1000), 160);
  EXPECT_DOUBLE_EQ(rate.at(2), 2 / (2.0 / 3 * 0.1 + 1.0 / 3 * 0.2)) << "0.1 s for one, 0.2 s for four";
  EXPECT_EQ(RowRate(7).at(3), 7);
  EXPECT_EQ(RowRate().at(3), 0) << "none given";

  Device device = slow_device();
  device.rank.products = {rate, rate, rate};
  device.rank.decode_attention = 1e18;
  // 16 rows through the layers; the head's last rows of each, 16 too.
  const StageCost cost = cost_of(small_profile(), {.count = 16, .num_rows = 1, .first_position = 0}, device);
  EXPECT_NEAR(cost.compute, 2.0 * 16 * (10 + 20 + 5) / 40, 1e-6);
}

TEST(CostModel, AChunkSeesATriangleOfKeysAndAWindowABand) {
  const StageProfile profile = small_profile();
  const StageCost cost =
      cost_of(profile, {.count = 1, .num_rows = 5, .first_position = 2, .sampled = false}, slow_device());
  // First layer: rows at 2..6 see 3 + 4 + 5 + 6 + 7 keys and read 7. Second: 3 + 4 + 4 + 4 + 4, and all of 0..6.
  EXPECT_DOUBLE_EQ(cost.memory, 1000 + (7 + 7) * 8);
  EXPECT_DOUBLE_EQ(cost.compute, 2 * 5 * (10 + 20) + 2 * 2 * (25 + 19) * 24 * 2);
  const StageCost late =
      cost_of(profile, {.count = 1, .num_rows = 5, .first_position = 100, .sampled = false}, slow_device());
  EXPECT_DOUBLE_EQ(late.memory, 1000 + (105 + 8) * 8);
}

TEST(CostModel, TheHeadIsReadOnceForThirtyTwoRowsOfLogits) {
  const auto memory = [](int count) {
    StageProfile profile = small_profile();
    profile.kv_token_bytes = 0;
    return cost_of(profile, {.count = count}, slow_device()).memory;
  };
  EXPECT_DOUBLE_EQ(memory(32), 1100);
  EXPECT_DOUBLE_EQ(memory(33), 1200);
}

TEST(CostModel, RanksOfAHostShareWhatItHas) {
  Device device = slow_device();
  device.rank.bytes_per_s = 10;
  device.host.bytes_per_s = 16;
  const RowGroup row{.count = 1, .num_rows = 1, .first_position = 0};
  const double bytes = 1000 + 100 + 2 * 8;
  EXPECT_DOUBLE_EQ(cost_of(small_profile(), row, device, {.busy_on_host = 1}).memory, bytes / 10);
  EXPECT_DOUBLE_EQ(cost_of(small_profile(), row, device, {.busy_on_host = 4}).memory, bytes / 4);
}

TEST(CostModel, NamesWhatBinds) {
  EXPECT_EQ((StageCost{.memory = 2, .compute = 1, .link = 1}.bound()), Resource::memory);
  EXPECT_EQ((StageCost{.memory = 1, .compute = 2, .link = 1}.bound()), Resource::compute);
  EXPECT_EQ((StageCost{.memory = 1, .compute = 2, .link = 3, .latency = 2}.bound()), Resource::link);
  EXPECT_EQ((StageCost{.memory = 1, .compute = 2, .link = 3, .latency = 4}.bound()), Resource::latency);
  EXPECT_DOUBLE_EQ((StageCost{.memory = 1, .compute = 2, .link = 3, .latency = 4, .overlapped = 1}.total()), 9);
}

TEST(Traffic, OfATokenAndOfAPromptByHand) {
  // Each of two parts owns half of the tree: one slot. A token: the other's slot of 64 floats.
  const ReductionTree tree(24, 2);
  EXPECT_EQ(sum_traffic(tree, 0, 1, 64).bytes, 64 * 4);
  EXPECT_EQ(sum_traffic(tree, 0, 1, 64).num_exchanges, 1);
  // 2,048 rows are 512 KiB: half of the other's slot, then the half that the other has added.
  EXPECT_EQ(sum_traffic(tree, 1, 2048, 64).bytes, (1024 + 1024) * 64 * 4);
  EXPECT_EQ(sum_traffic(tree, 1, 2048, 64).num_exchanges, 2);
  EXPECT_EQ(sum_traffic(ReductionTree(24, 1), 0, 2048, 64).bytes, 0);

  const RowGroup token{.count = 1, .num_rows = 1, .first_position = 0};
  // Two sums in each of two layers; part 0 gets the other's 128 logits.
  const StageProfile first = small_profile(2, 0), second = small_profile(2, 1);
  EXPECT_EQ(stage_traffic(first, std::span(&token, 1)).parts.bytes, 4 * 64 * 4 + 128 * 4);
  EXPECT_EQ(stage_traffic(first, std::span(&token, 1)).parts.num_exchanges, 5);
  EXPECT_EQ(stage_traffic(second, std::span(&token, 1)).parts.bytes, 4 * 64 * 4);
  EXPECT_EQ(stage_traffic(second, std::span(&token, 1)).border.bytes, 0);
  Device device = slow_device();
  device.within_host = {.bytes_per_s = 64, .latency_s = 3};
  device.between_hosts = {.bytes_per_s = 32, .latency_s = 5};
  EXPECT_DOUBLE_EQ(cost_of(second, token, device).link, 4 * (3 + 4.0));
  EXPECT_DOUBLE_EQ(cost_of(second, token, device, {.parts_on_one_host = false}).link, 4 * (5 + 8.0));
}

std::vector<std::string> names(const std::vector<LayoutSizes>& layouts) {
  std::vector<std::string> out;
  for (const LayoutSizes& sizes : layouts)
    out.push_back(std::to_string(sizes.tp) + std::to_string(sizes.pp) + std::to_string(sizes.dp));
  return out;
}

TEST(Layouts, AllThatKeepWhatIsWanted) {
  EXPECT_THAT(names(possible_layouts({.dp = 0, .tp = 0, .pp = 0}, 4)),
              ElementsAre("114", "122", "141", "212", "221", "411"));
  EXPECT_THAT(names(possible_layouts({.dp = 0, .tp = 2, .pp = 0}, 4)), ElementsAre("212", "221"));
  EXPECT_EQ(possible_layouts({.dp = 1, .tp = 0, .pp = 1}, 24).size(), 1u);
  EXPECT_THROW(possible_layouts({.dp = 1, .tp = 0, .pp = 1}, 25), Error);
  EXPECT_THROW(possible_layouts({.dp = 0, .tp = 3, .pp = 0}, 4), Error);
}

class OfSmolLm2 : public ::testing::Test {
 protected:
  static RankHosts hosts(int num_ranks, uint64_t rank_bytes, int per_host = 64) {
    RankHosts hosts{.kv_share = 0.5};
    for (int rank = 0; rank < num_ranks; ++rank) {
      hosts.host_of_rank.push_back(rank / per_host);
      hosts.rank_bytes.push_back(rank_bytes);
    }
    return hosts;
  }
  LayoutCapacity capacity(const EngineOptions& options, const RankHosts& hosts, LayoutSizes sizes) const {
    return layout_capacity(model_.files, options, *backend_for_sizes(options), hosts, sizes);
  }

  const OpenModel model_ = open_model(smollm2());
  const EngineOptions options_{.max_model_len = 4096, .isa = best_cpu_isa()};
};

TEST_F(OfSmolLm2, RefusalsSayWhatIsMissing) {
  EXPECT_THAT(capacity(options_, hosts(31, 1 << 30), {.dp = 1, .tp = 1, .pp = 31}).refusal,
              HasSubstr("31 pipeline stages are more than the model's 30 layers"));
  EngineOptions cut = options_;
  cut.layers_per_stage = {20, 10};
  EXPECT_THAT(capacity(cut, hosts(3, 1 << 30), {.dp = 1, .tp = 1, .pp = 3}).refusal,
              HasSubstr("--pipeline-layer-partition 20,10"));
  EXPECT_EQ(capacity(cut, hosts(2, 1 << 30), {.dp = 1, .tp = 1, .pp = 2}).refusal, "");
  EXPECT_THAT(capacity(options_, hosts(1, 150 << 20), {}).refusal, HasSubstr("one sequence of --max-model-len 4096"));
  EngineOptions many = options_;
  many.num_kv_blocks = 4096;
  EXPECT_THAT(capacity(many, hosts(1, 1 << 30), {}).refusal, HasSubstr("rank 0 needs 2.93 GiB and has 1.00"));
}

TEST_F(OfSmolLm2, TheNarrowestRankDecidesAndTheRestIsReserve) {
  RankHosts two = hosts(2, uint64_t{1} << 30);
  two.rank_bytes[1] = uint64_t{500} << 20;
  const LayoutCapacity layout = capacity(options_, two, {.dp = 1, .tp = 2, .pp = 1});
  ASSERT_EQ(layout.refusal, "");
  EXPECT_LT(layout.ranks[1].blocks_that_fit, layout.ranks[0].blocks_that_fit);
  EXPECT_EQ(layout.num_blocks, layout.ranks[1].blocks_that_fit);
  for (const RankBudget& rank : layout.ranks) {
    EXPECT_EQ(rank.memory.weights + rank.memory.activations + rank.kv_cache + rank.communication +
                  static_cast<uint64_t>(rank.reserve()),
              rank.rank_bytes);
    EXPECT_GT(rank.communication, 0u);
  }
  EXPECT_EQ(layout.max_sequences(64), layout.num_blocks / 2);
  EXPECT_EQ(layout.max_sequences(65), layout.num_blocks / 3);
}

TEST_F(OfSmolLm2, ServeLeavesTheUsualLayoutOnlyWhenItDoesNotFit) {
  const auto taken = [&](const RankHosts& hosts) { return layout_to_serve(model_.files, options_, hosts); };
  const ServedLayout roomy = taken(hosts(4, uint64_t{1} << 30));
  EXPECT_THAT(names({roomy.sizes}), ElementsAre("411"));
  EXPECT_EQ(roomy.reason, "");
  // Two KV heads of all layers are more than three of an eighth of them.
  const ServedLayout narrow = taken(hosts(4, uint64_t{150} << 20));
  EXPECT_GT(narrow.sizes.pp, 1);
  EXPECT_THAT(narrow.reason, HasSubstr("tp 4 x pp 1 does not fit: rank 1 has room for"));
  EXPECT_THAT(names({taken(hosts(4, 1 << 20)).sizes}), ElementsAre("411")) << "nothing fits: the start says why";
}

TEST_F(OfSmolLm2, ALoneStreamWaitsForWeightsKeysAndLatency) {
  Device device = slow_device();
  device.rank = {.bytes_per_s = 1e9, .products = {1e18, 1e18, 1e18}, .attention = 1e18, .decode_attention = 1e18};
  device.within_host = {.bytes_per_s = 1e18, .latency_s = 0};
  device.layer_latency_s = 1e-3;
  const RankHosts one = hosts(1, uint64_t{1} << 30);
  const Load load{.prompt_tokens = 300, .output_tokens = 100, .concurrency = 1};
  const LayoutPlan plan = plan_layout(model_.files, options_, device, one, load, {});
  const RankMemory& memory = plan.capacity.ranks[0].memory;
  const double token_bytes = static_cast<double>(memory.kv_block) / kBlockTokens;
  EXPECT_NEAR(plan.one_stream.tpot, 1e-9 * (static_cast<double>(memory.weights) + 351 * token_bytes) + 0.030, 1e-6);
  EXPECT_NEAR(plan.one_stream.ttft, 1e-9 * (static_cast<double>(memory.weights) + 300 * token_bytes) + 0.030, 1e-6);
  EXPECT_EQ(plan.one_stream.slowest_stage.bound(), Resource::memory);
  EXPECT_NEAR(plan.one_stream.output_tokens_per_s, 100 / (plan.one_stream.ttft + 100 * plan.one_stream.tpot), 0.01);

  // Two stages: a lone stream passes both; two streams keep both at work.
  const Load two_streams{.prompt_tokens = 300, .output_tokens = 100, .concurrency = 2};
  const LayoutPlan stages = plan_layout(model_.files, options_, device, hosts(2, uint64_t{1} << 30), two_streams,
                                        {.dp = 1, .tp = 1, .pp = 2});
  EXPECT_NEAR(stages.one_stream.tpot, plan.one_stream.tpot, 1e-3);
  EXPECT_EQ(stages.border_per_token.bytes, 576 * 4);
  EXPECT_GT(stages.full_load.output_tokens_per_s, 1.3 * stages.one_stream.output_tokens_per_s);
}

TEST_F(OfSmolLm2, SlowNetworksAreCrossedByStagesOrReplicasAndNotBySums) {
  Device device = *find_device("h100");
  const RankHosts two_hosts = hosts(2, uint64_t{8} << 30, 1);
  const auto best = [&](const LinkRate& network) {
    device.between_hosts = network;
    const Load one_stream{.prompt_tokens = 512, .output_tokens = 128, .concurrency = 1};
    return plan_layouts(model_.files, options_, device, two_hosts, one_stream, {.dp = 1, .tp = 0, .pp = 0})
        .front()
        .capacity.sizes.tp;
  };
  device.layer_latency_s = 0;
  EXPECT_EQ(best({.bytes_per_s = 1e9, .latency_s = 1e-3}), 1);
  EXPECT_EQ(best({.bytes_per_s = 1e15, .latency_s = 1e-9}), 2);
}

}  // namespace
}  // namespace echelon
