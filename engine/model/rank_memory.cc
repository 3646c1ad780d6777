#include "engine/model/rank_memory.h"

#include <algorithm>

#include "engine/model/stage_model.h"
#include "kernels/base/limits.h"

namespace echelon {

RankMemory rank_memory(const ModelFiles& model, const Shard& shard, const Backend& backend,
                       const EngineOptions& options) {
  return {.weights = stage_weight_bytes(model, shard, backend),
          .activations = StageModel::activation_bytes(model.spec, shard, backend, options.max_batch_tokens),
          .kv_block = StageModel::kv_block_bytes(model.spec, shard, options.kv_type)};
}

int64_t max_sequence_tokens(const EngineOptions& options, const ModelSpec& spec) {
  return options.max_model_len > 0 ? std::min(options.max_model_len, spec.max_context) : spec.max_context;
}

int64_t blocks_of(int64_t num_tokens) { return (num_tokens + kBlockTokens - 1) / kBlockTokens; }

std::vector<int> layers_per_stage(const EngineOptions& options, const ModelFiles& model, int pp) {
  if (options.layers_per_stage.empty()) return cut_layers(model.spec.num_layers, pp, head_cost(model));
  check_layer_partition(options.layers_per_stage, model.spec.num_layers, pp);
  return options.layers_per_stage;
}

int64_t kv_blocks_that_fit(const RankMemory& memory, const EngineOptions& options, const ModelSpec& spec,
                           uint64_t rank_bytes, double kv_share) {
  if (options.num_kv_blocks > 0) return options.num_kv_blocks;
  const int64_t most = blocks_of(max_sequence_tokens(options, spec)) * options.max_num_seqs;
  if (memory.kv_block == 0) return most;
  uint64_t budget = static_cast<uint64_t>(options.kv_memory_bytes);
  if (budget == 0) {
    const uint64_t others = memory.weights + memory.activations;
    budget = static_cast<uint64_t>(kv_share * static_cast<double>(rank_bytes > others ? rank_bytes - others : 0));
  }
  return std::min(most, static_cast<int64_t>(budget / memory.kv_block));
}

}  // namespace echelon
