// One forward pass over the layers of one stage, with optional parts (norms, biases, QK norm, windows, gates) as the weights have them.
// Tensor-parallel ranks call it with the same arguments in the same order; sums follow the model's reduction trees, so the numbers do
// not depend on how many ranks there are.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/model/shard.h"
#include "engine/model/stage_weights.h"
#include "kernels/backend.h"
#include "parallel/communicator.h"

namespace echelon {

/// Sequences' rows of one micro-batch, side by side.
struct BatchView {
  std::span<const TokenId> tokens;      ///< one a row
  std::span<const Segment> segments;    ///< cover the rows in order
  int num_rows() const { return static_cast<int>(tokens.size()); }
};

struct StageModelOptions {
  int max_rows = 512;            ///< of one micro-batch
  int64_t max_model_len = 0;     ///< for the rope tables
  int64_t num_blocks = 0;
  KvType kv_type = KvType::bf16;
};

/// Rows of logits computed at a time: bounds the memory for prompt log-probabilities.
inline constexpr int kLogitRows = 32;

class StageModel {
 public:
  /// tensor_group has shard.tp ranks, this one is shard.place.tp. backend and group must outlive this.
  StageModel(const ModelSpec& spec, Shard shard, StageWeights weights, Backend& backend, Communicator& tensor_group,
             const StageModelOptions& options, const std::vector<float>& rope_factors);
  ~StageModel();

  /// Bytes that activations and the KV cache of this shard take, beside the weights.
  static size_t activation_bytes(const ModelSpec& spec, const Shard& shard, const Backend& backend, int max_rows);
  static size_t kv_block_bytes(const ModelSpec& spec, const Shard& shard, KvType type);

  /// The residual stream [max_rows, hidden] in the backend's memory: the first stage writes it from the tokens, later stages receive it.
  Matrix hidden(int rows) const;
  void embed(const BatchView& batch);
  void run_layers(const BatchView& batch);
  /// Logits over the whole vocabulary of the given rows (at most kLogitRows) on part 0 of the tensor group, in host memory, valid until the
  /// next call; the other parts get an empty span. Last stage only. Rows lie vocab floats apart.
  std::span<const float> logits(std::span<const int> rows);

  size_t weight_bytes() const { return weights_.size_bytes(); }

 private:
  struct Workspace;
  void attention_block(const LayerWeights& layer, int local_layer, const BatchView& batch);
  void mlp_block(const LayerWeights& layer, int rows);
  void project(const Activation& x, int64_t rows, const Projection& projection, Matrix out, int64_t slot_stride);
  void sum_parts(const ReductionTree& tree, int rows, const float* norm);
  void exchange_slots(const ReductionTree& tree, int rows);
  void exchange_slices(const ReductionTree& tree, int rows);
  AttentionPlan attention_plan(const LayerWeights& layer, int global_layer) const;

  ModelSpec spec_;
  Shard shard_;
  StageWeights weights_;
  Backend& backend_;
  Communicator& tensor_group_;
  StageModelOptions options_;
  std::vector<std::unique_ptr<RopeTable>> ropes_;
  std::unique_ptr<Buffer> kv_buffer_;
  KvCacheView cache_;
  std::unique_ptr<Workspace> work_;
};

}  // namespace echelon
