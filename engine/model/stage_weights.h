// The weights of one place of the layout, packed for its backend: a rank reads only what it needs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/model/model_spec.h"
#include "engine/model/shard.h"
#include "engine/weights/progress.h"
#include "engine/weights/weight_file.h"
#include "kernels/backend.h"

namespace echelon {

/// A product whose output rows may be coded in several ways in the file (Q4_K beside Q6_K): one packed matrix for each
/// run of rows of one coding, with the first output column it writes.
struct Projection {
  struct Piece {
    std::unique_ptr<PackedMatrix> matrix;
    int64_t first_column = 0;
  };
  std::vector<Piece> pieces;
  const float* bias = nullptr;  ///< over all columns; null: none
  bool interleaved = false;     ///< one piece, for Backend::gated_linear()
  int64_t rows() const;
  size_t size_bytes() const;
};

/// Null pointers and empty projections are parts the model or the shard does not have.
struct LayerWeights {
  const float* attention_norm = nullptr;
  Projection qkv;
  const float* query_norm = nullptr;
  const float* key_norm = nullptr;
  Projection output;
  const float* post_attention_norm = nullptr;
  const float* mlp_norm = nullptr;
  Projection gate_up;
  Projection down;
  const float* post_mlp_norm = nullptr;
};

struct StageWeights {
  std::unique_ptr<EmbeddingTable> embedding;  ///< first stage
  std::vector<LayerWeights> layers;
  const float* final_norm = nullptr;             ///< last stage
  Projection head;                               ///< last stage: this part's vocabulary rows
  std::vector<std::unique_ptr<Buffer>> vectors;  ///< owns what the pointers above point to
  size_t size_bytes() const;
};

/// An open model: sizes, names and the file.
struct ModelFiles {
  ModelSpec spec;
  WeightNames names;
  std::shared_ptr<const WeightFile> weights;
};

/// Throws Error(Part::model) for a shard whose numbers would depend on the layout: heads that cut a group of quantised
/// weights.
void check_shard(const ModelFiles& model, const Shard& shard, const Backend& backend);

/// Throws Error naming tensor and file for anything missing or of a wrong shape, and as check_shard() does. progress
/// may be null.
StageWeights load_stage_weights(const ModelFiles& model, const Shard& shard, Backend& backend, Progress* progress);

/// Bytes load_stage_weights() will keep in packed matrices, from shapes and codings alone.
size_t stage_weight_bytes(const ModelFiles& model, const Shard& shard, const Backend& backend);
/// A matrix of the file, and how much of it a shard packs.
struct KeptMatrix {
  std::string name;
  int64_t rows = 0, cols = 0;          ///< kept
  int64_t all_rows = 0, all_cols = 0;  ///< of the matrix
  bool is_head = false;                ///< the LM head: runs for rows whose logits are wanted alone
};
std::vector<KeptMatrix> stage_matrices(const ModelFiles& model, const Shard& shard);
/// Bytes of the file that load_stage_weights() reads (for the progress bar).
uint64_t stage_file_bytes(const ModelFiles& model, const Shard& shard);

/// The LM head's cost in units of a layer: half of what its bytes say, because it runs for every decode but for hardly
/// any prompt token.
double head_cost(const ModelFiles& model);

}  // namespace echelon
