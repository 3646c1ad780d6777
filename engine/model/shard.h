// What part of a model one place of the layout owns: layers, heads, MLP columns, vocabulary rows. From sizes alone, so
// that the loader, the planner and the tests agree.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model/model_spec.h"
#include "kernels/reduction_tree.h"
#include "parallel/layout.h"

namespace echelon {

struct IndexRange {
  int64_t first = 0, count = 0;
  int64_t end() const { return first + count; }
};

struct Shard {
  Place place;
  int tp = 1, pp = 1;
  IndexRange layers;
  IndexRange heads;        ///< query heads; may be empty
  IndexRange kv_heads;     ///< every KV head its query heads read
  IndexRange mlp_columns;  ///< of the intermediate dimension
  IndexRange vocab;        ///< rows of the LM head; whole tiles of 64 but for the last
  ReductionTree attention_tree, mlp_tree;

  bool is_first_stage() const { return place.pp == 0; }
  bool is_last_stage() const { return place.pp == pp - 1; }
};

/// layers_per_stage adds up to the model's layers. 1 <= tp <= 24 (checked).
Shard make_shard(const ModelSpec& spec, const LayoutSizes& sizes, Place place,
                 const std::vector<int>& layers_per_stage);

/// The vocabulary rows of part t of tp.
IndexRange vocab_range(int64_t vocab, int tp, int t);

/// Cuts the layers into stages so that the most expensive stage costs as little as possible; every stage gets a layer.
/// The LM head counts on the last stage with `head_cost` in units of one layer. Throws Error(Part::model) with more
/// stages than layers.
std::vector<int> cut_layers(int num_layers, int num_stages, double head_cost);

/// The user's cut. Throws Error(Part::model) that names --pipeline-layer-partition when it does not fit the model and
/// the stages.
void check_layer_partition(const std::vector<int>& layers_per_stage, int num_layers, int num_stages);

}  // namespace echelon
