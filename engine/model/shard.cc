#include "engine/model/shard.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "kernels/base/check.h"
#include "kernels/base/error.h"
#include "kernels/base/limits.h"

namespace echelon {

IndexRange vocab_range(int64_t vocab, int tp, int t) {
  const int64_t tiles = (vocab + kVocabTile - 1) / kVocabTile;
  const int64_t first = std::min(tiles * t / tp * kVocabTile, vocab);
  const int64_t end = std::min(tiles * (t + 1) / tp * kVocabTile, vocab);
  return {first, end - first};
}

Shard make_shard(const ModelSpec& spec, const LayoutSizes& sizes, Place place,
                 const std::vector<int>& layers_per_stage) {
  ECHELON_CHECK(static_cast<int>(layers_per_stage.size()) == sizes.pp && sizes.tp >= 1 &&
                sizes.tp <= kMaxTensorParallel);
  const int64_t mlp_grains = (spec.intermediate + kMlpGrain - 1) / kMlpGrain;
  Shard shard{.place = place,
              .tp = sizes.tp,
              .pp = sizes.pp,
              .layers = {},
              .heads = {},
              .kv_heads = {},
              .mlp_columns = {},
              .vocab = vocab_range(spec.vocab, sizes.tp, place.tp),
              .attention_tree = ReductionTree(spec.num_heads, sizes.tp),
              .mlp_tree = ReductionTree(mlp_grains, sizes.tp)};
  shard.layers.first = std::accumulate(layers_per_stage.begin(), layers_per_stage.begin() + place.pp, int64_t{0});
  shard.layers.count = layers_per_stage[place.pp];
  shard.heads = {shard.attention_tree.first_grain(place.tp), shard.attention_tree.num_grains(place.tp)};
  if (shard.heads.count > 0) {
    const int64_t group = spec.num_heads / spec.num_kv_heads;
    shard.kv_heads.first = shard.heads.first / group;
    shard.kv_heads.count = (shard.heads.end() - 1) / group + 1 - shard.kv_heads.first;
  }
  const int64_t first_column = shard.mlp_tree.first_grain(place.tp) * kMlpGrain;
  const int64_t end_column = (shard.mlp_tree.first_grain(place.tp) + shard.mlp_tree.num_grains(place.tp)) * kMlpGrain;
  shard.mlp_columns.first = std::min(first_column, spec.intermediate);
  shard.mlp_columns.count = std::min(end_column, spec.intermediate) - shard.mlp_columns.first;
  return shard;
}

std::vector<int> cut_layers(int num_layers, int num_stages, double head_cost) {
  if (num_stages > num_layers) {
    throw Error(Part::model, fmt::format("{} pipeline stages are more than the model's {} layers: lower -pp",
                                         num_stages, num_layers));
  }
  std::vector<int> best;
  double best_cost = 0;
  // All layers cost 1: for every size of the last stage the others share evenly.
  for (int last = 1; last <= num_layers - (num_stages - 1); ++last) {
    const int rest = num_layers - last;
    if (num_stages == 1 && rest > 0) continue;
    std::vector<int> cut;
    for (int stage = 0; stage + 1 < num_stages; ++stage) {
      cut.push_back(rest * (stage + 1) / (num_stages - 1) - rest * stage / (num_stages - 1));
    }
    cut.push_back(last);
    double cost = last + head_cost;
    for (int stage = 0; stage + 1 < num_stages; ++stage) cost = std::max(cost, static_cast<double>(cut[stage]));
    if (best.empty() || cost < best_cost) {
      best = cut;
      best_cost = cost;
    }
  }
  return best;
}

void check_layer_partition(const std::vector<int>& layers_per_stage, int num_layers, int num_stages) {
  const int64_t total = std::accumulate(layers_per_stage.begin(), layers_per_stage.end(), int64_t{0});
  const bool positive =
      std::all_of(layers_per_stage.begin(), layers_per_stage.end(), [](int layers) { return layers >= 1; });
  if (positive && static_cast<int>(layers_per_stage.size()) == num_stages && total == num_layers) return;
  throw Error(
      Part::model,
      fmt::format(
          "--pipeline-layer-partition {} has {} stages and {} layers; -pp says {} stages and the model has {} layers",
          fmt::join(layers_per_stage, ","), layers_per_stage.size(), total, num_stages, num_layers));
}

}  // namespace echelon
