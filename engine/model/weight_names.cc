// The names of tensors in GGUF files and Hugging Face folders.
#include "engine/model/model_spec.h"
#include "kernels/base/check.h"

namespace echelon {

WeightNames gguf_weight_names(const std::string&) {
  return {.embedding = "token_embd.weight",
          .final_norm = "output_norm.weight",
          .head = "output.weight",
          .rope_factors = "rope_freqs.weight",
          .attention_norm = "blk.{}.attn_norm.weight",
          .query = "blk.{}.attn_q.weight",
          .key = "blk.{}.attn_k.weight",
          .value = "blk.{}.attn_v.weight",
          .output = "blk.{}.attn_output.weight",
          .query_bias = "blk.{}.attn_q.bias",
          .key_bias = "blk.{}.attn_k.bias",
          .value_bias = "blk.{}.attn_v.bias",
          .query_norm = "blk.{}.attn_q_norm.weight",
          .key_norm = "blk.{}.attn_k_norm.weight",
          .post_attention_norm = "blk.{}.post_attention_norm.weight",
          .mlp_norm = "blk.{}.ffn_norm.weight",
          .gate = "blk.{}.ffn_gate.weight",
          .up = "blk.{}.ffn_up.weight",
          .down = "blk.{}.ffn_down.weight",
          .post_mlp_norm = "blk.{}.post_ffw_norm.weight"};
}

WeightNames hugging_face_weight_names(const std::string& family) {
  WeightNames names{.embedding = "model.embed_tokens.weight",
                    .final_norm = "model.norm.weight",
                    .head = "lm_head.weight",
                    .rope_factors = "",
                    .attention_norm = "model.layers.{}.input_layernorm.weight",
                    .query = "model.layers.{}.self_attn.q_proj.weight",
                    .key = "model.layers.{}.self_attn.k_proj.weight",
                    .value = "model.layers.{}.self_attn.v_proj.weight",
                    .output = "model.layers.{}.self_attn.o_proj.weight",
                    .query_bias = "model.layers.{}.self_attn.q_proj.bias",
                    .key_bias = "model.layers.{}.self_attn.k_proj.bias",
                    .value_bias = "model.layers.{}.self_attn.v_proj.bias",
                    .query_norm = "model.layers.{}.self_attn.q_norm.weight",
                    .key_norm = "model.layers.{}.self_attn.k_norm.weight",
                    .post_attention_norm = "",
                    .mlp_norm = "model.layers.{}.post_attention_layernorm.weight",
                    .gate = "model.layers.{}.mlp.gate_proj.weight",
                    .up = "model.layers.{}.mlp.up_proj.weight",
                    .down = "model.layers.{}.mlp.down_proj.weight",
                    .post_mlp_norm = ""};
  if (family == "gemma3") {
    names.post_attention_norm = "model.layers.{}.post_attention_layernorm.weight";
    names.mlp_norm = "model.layers.{}.pre_feedforward_layernorm.weight";
    names.post_mlp_norm = "model.layers.{}.post_feedforward_layernorm.weight";
  }
  return names;
}

std::string layer_name(const std::string& pattern, int layer) {
  const size_t place = pattern.find("{}");
  ECHELON_CHECK(place != std::string::npos);
  return pattern.substr(0, place) + std::to_string(layer) + pattern.substr(place + 2);
}

}  // namespace echelon
