// A model as data: sizes, and which of the optional parts of the one forward pass (stage_model.h) its layers have.
// Filled by one short function per architecture (architectures.cc) from GGUF metadata or config.json; weights that are
// absent are operations that are absent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/weights/gguf.h"
#include "engine/weights/json_file.h"
#include "kernels/backend.h"

namespace echelon {

struct RopeSpec {
  RopeStyle style = RopeStyle::halves;
  double base = 10000.0;
  double position_scale = 1.0;
  /// Llama 3's scaling of low frequencies (config.json); factors from a file (GGUF's rope_freqs) take its place.
  struct Llama3 {
    double factor = 8, low_freq_factor = 1, high_freq_factor = 4, original_context = 8192;
  };
  std::optional<Llama3> llama3;
};

struct LayerSpec {
  int window = 0;  ///< keys a query sees, itself included; 0: all
  int rope = 0;    ///< index into ModelSpec::ropes
};

struct ModelSpec {
  std::string family;  ///< "llama", "qwen2", "gemma3"
  int64_t hidden = 0, intermediate = 0, vocab = 0;
  int num_layers = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int64_t max_context = 0;
  float norm_epsilon = 1e-5f;
  float norm_offset = 0;  ///< added to every norm's weight as stored (Gemma's safetensors)
  Gate gate = Gate::silu;
  float embedding_scale = 1;
  float attention_scale = 0;
  float attention_softcap = 0, logits_softcap = 0;
  std::vector<RopeSpec> ropes;
  std::vector<LayerSpec> layers;
};

/// Throw Error(Part::model) naming the key: an architecture we do not have, a missing or absurd size, heads that do not
/// divide.
ModelSpec model_spec_from_gguf(const GgufFile& file);
ModelSpec model_spec_from_config(const JsonObject& config);

/// Names of the tensors of a model in a file. A layer's names hold "{}" for its number; an empty name: this file format
/// has none.
struct WeightNames {
  std::string embedding, final_norm, head, rope_factors;
  std::string attention_norm, query, key, value, output, query_bias, key_bias, value_bias, query_norm, key_norm;
  std::string post_attention_norm, mlp_norm, gate, up, down, post_mlp_norm;
};

WeightNames gguf_weight_names(const std::string& family);
WeightNames hugging_face_weight_names(const std::string& family);

/// "blk.{}.attn_q.weight", 3 -> "blk.3.attn_q.weight"
std::string layer_name(const std::string& pattern, int layer);

}  // namespace echelon
