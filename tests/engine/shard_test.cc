// How sizes are cut over ranks: every head, MLP column, vocabulary row and layer has its place once and in order, for
// any number of ranks; and a cut of the user's own fits or is refused.
#include "engine/model/shard.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

struct Sizes {
  int num_heads, num_kv_heads;
  int64_t intermediate, vocab;
};

std::vector<Sizes> all_sizes() {
  std::vector<Sizes> sizes;
  for (const auto& [heads, kv_heads] : {std::pair{9, 3}, {4, 1}, {32, 8}, {1, 1}, {24, 24}, {100, 4}}) {
    for (const int64_t intermediate : {1536, 2048, 100, 64}) {
      for (const int64_t vocab : {2, 63, 64, 65, 1000, 49152}) sizes.push_back({heads, kv_heads, intermediate, vocab});
    }
  }
  return sizes;
}

ModelSpec spec_of(const Sizes& sizes) {
  ModelSpec spec;
  spec.num_heads = sizes.num_heads;
  spec.num_kv_heads = sizes.num_kv_heads;
  spec.intermediate = sizes.intermediate;
  spec.vocab = sizes.vocab;
  spec.num_layers = 5;
  return spec;
}

/// Calls check(spec, shards of tp 0, 1, ...) for every size and tp, with a trace.
template <typename F>
void for_every_cut(F&& check) {
  for (const Sizes& sizes : all_sizes()) {
    const ModelSpec spec = spec_of(sizes);
    for (int tp = 1; tp <= kMaxTensorParallel; ++tp) {
      SCOPED_TRACE(fmt::format("{} heads, {} kv heads, mlp {}, vocab {}, tp {}", sizes.num_heads, sizes.num_kv_heads,
                               sizes.intermediate, sizes.vocab, tp));
      std::vector<Shard> shards;
      for (int t = 0; t < tp; ++t) shards.push_back(make_shard(spec, {.tp = tp, .pp = 2}, {.pp = 1, .tp = t}, {3, 2}));
      check(spec, shards);
    }
  }
}

/// The ranges, one a shard, follow each other from 0 to `total`.
void expect_covers(const std::vector<Shard>& shards, IndexRange Shard::*range, int64_t total) {
  int64_t next = 0;
  for (const Shard& shard : shards) {
    EXPECT_EQ((shard.*range).first, next);
    EXPECT_GE((shard.*range).count, 0);
    next = (shard.*range).end();
  }
  EXPECT_EQ(next, total);
}

TEST(Shard, HeadsColumnsAndVocabularyAreCoveredOnceAndInOrder) {
  for_every_cut([](const ModelSpec& spec, const std::vector<Shard>& shards) {
    expect_covers(shards, &Shard::heads, spec.num_heads);
    expect_covers(shards, &Shard::mlp_columns, spec.intermediate);
    expect_covers(shards, &Shard::vocab, spec.vocab);
  });
}

TEST(Shard, ARankStoresTheKvHeadsThatItsQueryHeadsReadAndNoOther) {
  for_every_cut([](const ModelSpec& spec, const std::vector<Shard>& shards) {
    for (const Shard& shard : shards) {
      std::vector<int64_t> read, stored;
      for (int64_t head = shard.heads.first; head < shard.heads.end(); ++head) {
        const int64_t kv_head = head * spec.num_kv_heads / spec.num_heads;
        if (read.empty() || read.back() != kv_head) read.push_back(kv_head);
      }
      for (int64_t head = shard.kv_heads.first; head < shard.kv_heads.end(); ++head) stored.push_back(head);
      EXPECT_EQ(stored, read) << "rank " << shard.place.tp;
    }
  });
}

TEST(Shard, BordersAreThoseOfLeavesOfGrainsAndOfTiles) {
  for_every_cut([](const ModelSpec& spec, const std::vector<Shard>& shards) {
    for (const Shard& shard : shards) {
      EXPECT_TRUE(shard.mlp_columns.end() == spec.intermediate || shard.mlp_columns.end() % kMlpGrain == 0);
      EXPECT_TRUE(shard.vocab.end() == spec.vocab || shard.vocab.end() % kVocabTile == 0);
      // Leaf s starts at head s G / 24, so rank t of tp starts where leaf 24 t / tp does.
      const int64_t first_leaf = shard.place.tp * kNumLeaves / shard.tp;
      EXPECT_EQ(shard.heads.first, first_leaf * spec.num_heads / kNumLeaves);
    }
  });
}

/// The leaves of a rank follow each other over its range, each merge has two sums below it, and what is left goes to
/// slots.
void expect_leaves_cover(const ReductionTree& tree, int part, int64_t first, int64_t count) {
  int64_t next = first;
  int depth = 0, slots = 0;
  for (const ReductionTree::Leaf& leaf : tree.leaves(part)) {
    EXPECT_EQ(leaf.first_grain, next);
    EXPECT_GE(leaf.num_grains, 1);
    next = leaf.first_grain + leaf.num_grains;
    ++depth;
    EXPECT_LE(depth, kMaxReductionDepth);
    depth -= leaf.merges;
    EXPECT_GE(depth, 1);
    if (leaf.slot < 0) continue;
    EXPECT_EQ(leaf.slot, slots++);
    EXPECT_EQ(depth, 1);
    depth = 0;
  }
  EXPECT_EQ(depth, 0);
  EXPECT_EQ(next, first + count);
  EXPECT_EQ(slots, tree.num_slots(part));
}

TEST(Shard, LeavesOfTheTreesAgreeWithTheRanges) {
  for_every_cut([](const ModelSpec& spec, const std::vector<Shard>& shards) {
    int attention_slots = 0, mlp_slots = 0;
    for (const Shard& shard : shards) {
      const int t = shard.place.tp;
      expect_leaves_cover(shard.attention_tree, t, shard.heads.first, shard.heads.count);
      const int64_t first_grain = (shard.mlp_columns.first + kMlpGrain - 1) / kMlpGrain;
      const int64_t end_grain = (shard.mlp_columns.end() + kMlpGrain - 1) / kMlpGrain;
      expect_leaves_cover(shard.mlp_tree, t, first_grain, end_grain - first_grain);
      EXPECT_EQ(shard.attention_tree.first_slot(t), attention_slots);
      EXPECT_EQ(shard.mlp_tree.first_slot(t), mlp_slots);
      attention_slots += shard.attention_tree.num_slots(t);
      mlp_slots += shard.mlp_tree.num_slots(t);
      EXPECT_EQ(shard.attention_tree.num_parts(), shard.tp);
    }
    EXPECT_EQ(shards[0].attention_tree.total_slots(), attention_slots);
    EXPECT_EQ(shards[0].mlp_tree.total_slots(), mlp_slots);
    EXPECT_LE(attention_slots, std::min(spec.num_heads, kNumLeaves));
  });
}

TEST(Shard, NoRankHasMoreThanItsShareOfLeaves) {
  const ModelSpec spec =
      spec_of({.num_heads = 24, .num_kv_heads = 24, .intermediate = 24 * kMlpGrain, .vocab = 24 * kVocabTile});
  for (int tp = 1; tp <= kMaxTensorParallel; ++tp) {
    const int most = (24 + tp - 1) / tp;
    for (int t = 0; t < tp; ++t) {
      const Shard shard = make_shard(spec, {.tp = tp}, {.tp = t}, {5});
      EXPECT_THAT(shard.heads.count, testing::AllOf(testing::Ge(24 / tp), testing::Le(most))) << t << " of " << tp;
      EXPECT_LE(shard.mlp_columns.count, most * kMlpGrain);
      EXPECT_LE(shard.vocab.count, most * kVocabTile);
    }
  }
}

TEST(Shard, StagesHoldTheLayersOfTheCut) {
  const ModelSpec spec = spec_of({9, 3, 1536, 1000});
  const std::vector<int> cut{2, 1, 2};
  int64_t next = 0;
  for (int stage = 0; stage < 3; ++stage) {
    const Shard shard = make_shard(spec, {.pp = 3}, {.pp = stage}, cut);
    EXPECT_EQ(shard.layers.first, next);
    EXPECT_EQ(shard.layers.count, cut[stage]);
    EXPECT_EQ(shard.is_first_stage(), stage == 0);
    EXPECT_EQ(shard.is_last_stage(), stage == 2);
    next = shard.layers.end();
  }
  EXPECT_EQ(next, spec.num_layers);
}

double cost_of(const std::vector<int>& cut, double head_cost) {
  return std::max<double>(*std::max_element(cut.begin(), cut.end()), cut.back() + head_cost);
}

/// The least cost over all cuts into num_stages stages of at least one layer.
double least_cost(int num_layers, int num_stages, double head_cost) {
  if (num_stages == 1) return num_layers + head_cost;
  double least = 1e300;
  for (int first = 1; first <= num_layers - (num_stages - 1); ++first) {
    least = std::min(least, std::max<double>(first, least_cost(num_layers - first, num_stages - 1, head_cost)));
  }
  return least;
}

TEST(CutLayers, TheMostExpensiveStageIsAsCheapAsAnyCutAllows) {
  for (int num_layers = 1; num_layers <= 14; ++num_layers) {
    for (int num_stages = 1; num_stages <= std::min(num_layers, 6); ++num_stages) {
      for (const double head_cost : {0.0, 0.4, 1.0, 2.5, 8.0, 13.3, 100.0}) {
        SCOPED_TRACE(fmt::format("{} layers, {} stages, head {}", num_layers, num_stages, head_cost));
        const std::vector<int> cut = cut_layers(num_layers, num_stages, head_cost);
        ASSERT_EQ(static_cast<int>(cut.size()), num_stages);
        EXPECT_THAT(cut, testing::Each(testing::Ge(1)));
        EXPECT_EQ(std::accumulate(cut.begin(), cut.end(), 0), num_layers);
        EXPECT_EQ(cost_of(cut, head_cost), least_cost(num_layers, num_stages, head_cost));
      }
    }
  }
}

TEST(CutLayers, LargeModelsHaveALayerInEveryStage) {
  for (const auto& [num_layers, num_stages] : {std::pair{30, 30}, {4096, 4096}, {4096, 3}, {126, 16}, {80, 79}}) {
    const std::vector<int> cut = cut_layers(num_layers, num_stages, 3.5);
    ASSERT_EQ(static_cast<int>(cut.size()), num_stages);
    EXPECT_THAT(cut, testing::Each(testing::Ge(1)));
    EXPECT_EQ(std::accumulate(cut.begin(), cut.end(), 0), num_layers);
  }
}

std::optional<std::string> error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.part(), Part::model);
    return error.what();
  }
  return std::nullopt;
}

TEST(CutLayers, MoreStagesThanLayersIsAnErrorThatNamesBoth) {
  const auto message = error_of([] { cut_layers(18, 19, 1.0); });
  ASSERT_TRUE(message);
  EXPECT_THAT(*message, testing::AllOf(testing::HasSubstr("18"), testing::HasSubstr("19"), testing::HasSubstr("-pp")));
}

TEST(LayerPartition, ACutThatFitsIsTaken) {
  check_layer_partition({30}, 30, 1);
  check_layer_partition({19, 11}, 30, 2);
  check_layer_partition({1, 1, 1}, 3, 3);
}

TEST(LayerPartition, ACutThatDoesNotFitIsAnErrorThatNamesTheFlagAndBothSides) {
  constexpr int kMost = std::numeric_limits<int>::max();
  const std::vector<int> cuts[] = {{},          {30},       {19, 10},    {10, 10, 10}, {19, 12},
                                   {0, 30},     {30, 0},    {-1, 31},    {31, -1},     {kMost, kMost},
                                   {kMost, 31}, {30, 0, 0}, {kMost, -1}, {15, 15, 0},  {1, 1}};
  for (const std::vector<int>& cut : cuts) {
    const auto message = error_of([&] { check_layer_partition(cut, 30, 2); });
    ASSERT_TRUE(message) << fmt::format("{} was taken", fmt::join(cut, ","));
    EXPECT_THAT(*message, testing::AllOf(testing::HasSubstr("--pipeline-layer-partition"),
                                         testing::HasSubstr(fmt::format("{}", fmt::join(cut, ","))),
                                         testing::HasSubstr("30 layers"), testing::HasSubstr("2 stages")));
  }
}

}  // namespace
}  // namespace echelon
