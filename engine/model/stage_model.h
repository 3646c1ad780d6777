// One forward pass over the layers of one stage, with optional parts (norms, biases, QK norm, windows, gates) as the
// weights have them. Tensor-parallel ranks call it with the same arguments in the same order; sums follow the model's
// reduction trees, so the numbers do not depend on how many ranks there are.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/model/layer_runner.h"
#include "engine/model/shard.h"
#include "engine/model/stage_weights.h"
#include "kernels/backend.h"
#include "parallel/communicator.h"

namespace echelon {

struct StageModelOptions {
  int max_rows = 512;         ///< of one micro-batch
  int64_t max_model_len = 0;  ///< for the rope tables
  int64_t num_blocks = 0;
  KvType kv_type = KvType::bf16;
};

class StageModel final : public LayerRunner {
 public:
  /// tensor_group has shard.tp ranks, this one is shard.place.tp. backend and group must outlive this.
  StageModel(const ModelSpec& spec, Shard shard, StageWeights weights, Backend& backend, Communicator& tensor_group,
             const StageModelOptions& options, const std::vector<float>& rope_factors);
  ~StageModel() override;

  /// Bytes that activations and the KV cache of this shard take, beside the weights.
  static size_t activation_bytes(const ModelSpec& spec, const Shard& shard, const Backend& backend, int max_rows);
  static size_t kv_block_bytes(const ModelSpec& spec, const Shard& shard, KvType type);

  void embed(const BatchView& batch) override;
  void run_layers(const BatchView& batch) override;
  std::span<const float> logits(std::span<const int> rows) override;
  std::span<const float> final_hidden(std::span<const int> rows) override;
  std::span<std::byte> hidden_bytes(int rows) override;
  int num_host_threads() const override { return backend_.num_host_threads(); }
  void run_on_host(int num_parts, const std::function<void(int)>& f) override { backend_.run_on_host(num_parts, f); }

  /// Takes some more of the KV cache's memory from the system, which may take milliseconds a page where it is used
  /// first; contents stay. False when all of it is there. Not while a micro-batch runs.
  bool claim_more_cache();

  /// The model is of no use after this.
  StageWeights take_weights() { return std::move(weights_); }
  size_t weight_bytes() const { return weights_.size_bytes(); }

 private:
  struct Workspace;
  Matrix hidden(int rows) const;
  void attention_block(const LayerWeights& layer, int local_layer, const BatchView& batch);
  void mlp_block(const LayerWeights& layer, const LayerWeights* next, int rows);
  NextNorm norm_before(const IndexRange& share, const float* weight) const;
  void project(const Activation& x, int64_t rows, const Projection& projection, Matrix out, int64_t slot_stride);
  void sum_parts(const ReductionTree& tree, int rows, const float* norm, NextNorm next);
  void exchange_slots(const ReductionTree& tree, int rows);
  void exchange_slices(const ReductionTree& tree, int rows);
  Matrix select(std::span<const int> rows);
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
  size_t claimed_bytes_ = 0;  ///< of kv_buffer_
  std::unique_ptr<Workspace> work_;
};

}  // namespace echelon
