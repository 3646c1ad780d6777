// One short function per architecture and file format: metadata in, ModelSpec out.
#include <fmt/format.h>

#include <cmath>

#include "engine/model/model_spec.h"
#include "kernels/base/error.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int kMaxLayers = 4096;

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(Part::model, where + ": " + what);
}

/// What both formats must agree with before anything is computed from the sizes.
void check_sizes(const ModelSpec& spec, const std::string& where) {
  const auto in = [&](const char* name, int64_t value, int64_t least, int64_t most) {
    if (value < least || value > most)
      refuse(where, fmt::format("{} is {}, expected {} to {}", name, value, least, most));
  };
  in("hidden size", spec.hidden, 1, kMaxWidth);
  in("intermediate size", spec.intermediate, 1, kMaxWidth);
  in("vocabulary size", spec.vocab, 2, kMaxVocab);
  in("number of layers", spec.num_layers, 1, kMaxLayers);
  in("number of heads", spec.num_heads, 1, 4096);
  in("number of key/value heads", spec.num_kv_heads, 1, spec.num_heads);
  in("head size", spec.head_dim, 16, 1024);
  in("context length", spec.max_context, 1, kMaxModelLen);
  if (spec.head_dim % 16 != 0) refuse(where, fmt::format("head size {} is not a multiple of 16", spec.head_dim));
  if (spec.num_heads % spec.num_kv_heads != 0) {
    refuse(where, fmt::format("{} heads are not a multiple of {} key/value heads", spec.num_heads, spec.num_kv_heads));
  }
  if (!(spec.norm_epsilon > 0 && spec.norm_epsilon < 1)) refuse(where, "the norm's epsilon is not between 0 and 1");
  for (const RopeSpec& rope : spec.ropes) {
    if (!(rope.base > 1 && rope.base < 1e12)) refuse(where, fmt::format("rope base {} is out of range", rope.base));
    if (!(rope.position_scale > 0 && rope.position_scale <= 1)) refuse(where, "rope scaling factor is below 1");
  }
}

int narrow(const std::string& where, const char* key, int64_t value) {
  if (value < 0 || value > INT32_MAX) refuse(where, fmt::format("{} = {} is out of range", key, value));
  return static_cast<int>(value);
}

/// Gemma 3: five layers with a window and their own rope base, then one that sees everything.
void set_gemma3_layers(ModelSpec& spec, int window, int pattern, double local_base) {
  RopeSpec local = spec.ropes.at(0);
  local.base = local_base;
  local.position_scale = 1.0;
  spec.ropes.push_back(local);
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    const bool global = (layer + 1) % pattern == 0;
    spec.layers[layer] = {.window = global ? 0 : window, .rope = global ? 0 : 1};
  }
  spec.gate = Gate::gelu_tanh;
  spec.embedding_scale = std::sqrt(static_cast<float>(spec.hidden));
}

ModelSpec common_from_gguf(const GgufFile& file, const std::string& family) {
  const std::string& where = file.path();
  const auto key = [&](const char* name) { return family + "." + name; };
  ModelSpec spec;
  spec.family = family;
  spec.hidden = file.get_int(key("embedding_length"));
  spec.intermediate = file.get_int(key("feed_forward_length"));
  spec.num_layers = narrow(where, "block_count", file.get_int(key("block_count")));
  spec.num_heads = narrow(where, "head_count", file.get_int(key("attention.head_count")));
  if (spec.num_heads < 1) refuse(where, key("attention.head_count") + " is 0");
  spec.num_kv_heads =
      narrow(where, "head_count_kv", file.find_int(key("attention.head_count_kv")).value_or(spec.num_heads));
  spec.head_dim =
      narrow(where, "key_length", file.find_int(key("attention.key_length")).value_or(spec.hidden / spec.num_heads));
  const int64_t value_length = file.find_int(key("attention.value_length")).value_or(spec.head_dim);
  if (value_length != spec.head_dim) refuse(where, "keys and values of different head sizes are not supported");
  spec.max_context = file.get_int(key("context_length"));
  spec.norm_epsilon = static_cast<float>(file.get_float(key("attention.layer_norm_rms_epsilon")));
  const GgufTensor* embedding = file.find_tensor("token_embd.weight");
  if (!embedding || embedding->shape.size() != 2) refuse(where, "tensor token_embd.weight is missing or not a matrix");
  spec.vocab = embedding->shape[0];
  const int64_t rotary = file.find_int(key("rope.dimension_count")).value_or(spec.head_dim);
  if (rotary != spec.head_dim) refuse(where, "rope over a part of the head is not supported");
  RopeSpec rope;
  rope.base = file.find_float(key("rope.freq_base")).value_or(10000.0);
  const auto scaling = file.find_string(key("rope.scaling.type"));
  if (scaling && *scaling == "linear") {
    rope.position_scale = 1.0 / file.get_float(key("rope.scaling.factor"));
  } else if (scaling && *scaling != "none") {
    refuse(where, fmt::format("rope scaling '{}' is not supported (linear is)", *scaling));
  }
  spec.ropes.push_back(rope);
  spec.attention_scale = 1.0f / std::sqrt(static_cast<float>(spec.head_dim));
  if (spec.num_layers < 1 || spec.num_layers > kMaxLayers) refuse(where, key("block_count") + " is out of range");
  spec.layers.resize(spec.num_layers);
  return spec;
}

ModelSpec common_from_config(const JsonObject& config, const std::string& family) {
  const std::string& where = config.where();
  ModelSpec spec;
  spec.family = family;
  spec.hidden = config.get_int("hidden_size");
  spec.intermediate = config.get_int("intermediate_size");
  spec.vocab = config.get_int("vocab_size");
  spec.num_layers = narrow(where, "num_hidden_layers", config.get_int("num_hidden_layers"));
  spec.num_heads = narrow(where, "num_attention_heads", config.get_int("num_attention_heads"));
  if (spec.num_heads < 1) refuse(where, "num_attention_heads is 0");
  spec.num_kv_heads =
      narrow(where, "num_key_value_heads", config.find_int("num_key_value_heads").value_or(spec.num_heads));
  spec.head_dim = narrow(where, "head_dim", config.find_int("head_dim").value_or(spec.hidden / spec.num_heads));
  spec.max_context = config.get_int("max_position_embeddings");
  spec.norm_epsilon = static_cast<float>(config.get_float("rms_norm_eps"));
  RopeSpec rope;
  rope.base = config.find_float("rope_theta").value_or(10000.0);
  if (const auto scaling = config.find_object("rope_scaling")) {
    const std::string type =
        scaling->find_string("rope_type").value_or(scaling->find_string("type").value_or("default"));
    if (type == "linear") {
      rope.position_scale = 1.0 / scaling->get_float("factor");
    } else if (type == "llama3") {
      rope.llama3 = RopeSpec::Llama3{.factor = scaling->get_float("factor"),
                                     .low_freq_factor = scaling->get_float("low_freq_factor"),
                                     .high_freq_factor = scaling->get_float("high_freq_factor"),
                                     .original_context = scaling->get_float("original_max_position_embeddings")};
      const auto& l = *rope.llama3;
      if (!(l.factor >= 1 && l.low_freq_factor > 0 && l.high_freq_factor > l.low_freq_factor &&
            l.original_context >= 1)) {
        refuse(where, "rope_scaling has factors out of range");
      }
    } else if (type != "default") {
      refuse(where, fmt::format("rope_scaling '{}' is not supported (linear and llama3 are)", type));
    }
  }
  spec.ropes.push_back(rope);
  spec.attention_scale = 1.0f / std::sqrt(static_cast<float>(spec.head_dim));
  if (spec.num_layers < 1 || spec.num_layers > kMaxLayers) refuse(where, "num_hidden_layers is out of range");
  spec.layers.resize(spec.num_layers);
  return spec;
}

/// Larger Gemma 3 models scale scores by something else than the head size.
ModelSpec gemma3_from_gguf(const GgufFile& file) {
  ModelSpec spec = common_from_gguf(file, "gemma3");
  const int window = narrow(file.path(), "sliding_window", file.get_int("gemma3.attention.sliding_window"));
  const int pattern = narrow(file.path(), "sliding_window_pattern",
                             file.find_int("gemma3.attention.sliding_window_pattern").value_or(6));
  if (window < 1 || pattern < 1) refuse(file.path(), "gemma3.attention.sliding_window is out of range");
  set_gemma3_layers(spec, window, pattern, file.find_float("gemma3.rope.freq_base_swa").value_or(10000.0));
  constexpr int kLayersOf27B = 62;  // GGUF files do not say query_pre_attn_scalar; only the 27B model differs
  if (spec.num_layers == kLayersOf27B) {
    spec.attention_scale = 1.0f / std::sqrt(static_cast<float>(spec.hidden) / static_cast<float>(spec.num_heads));
  }
  spec.logits_softcap = static_cast<float>(file.find_float("gemma3.final_logit_softcapping").value_or(0));
  return spec;
}

ModelSpec gemma3_from_config(const JsonObject& config) {
  ModelSpec spec = common_from_config(config, "gemma3");
  const int window = narrow(config.where(), "sliding_window", config.get_int("sliding_window"));
  const int pattern =
      narrow(config.where(), "sliding_window_pattern", config.find_int("sliding_window_pattern").value_or(6));
  if (window < 1 || pattern < 1) refuse(config.where(), "sliding_window is out of range");
  set_gemma3_layers(spec, window, pattern, config.find_float("rope_local_base_freq").value_or(10000.0));
  const double scalar = config.find_float("query_pre_attn_scalar").value_or(spec.head_dim);
  if (!(scalar > 0 && scalar < 1e6)) refuse(config.where(), "query_pre_attn_scalar is out of range");
  spec.attention_scale = static_cast<float>(1.0 / std::sqrt(scalar));
  spec.attention_softcap = static_cast<float>(config.find_float("attn_logit_softcapping").value_or(0));
  spec.logits_softcap = static_cast<float>(config.find_float("final_logit_softcapping").value_or(0));
  spec.norm_offset = 1.0f;
  return spec;
}

}  // namespace

ModelSpec model_spec_from_gguf(const GgufFile& file) {
  const std::string family(file.get_string("general.architecture"));
  ModelSpec spec;
  if (family == "llama") {
    spec = common_from_gguf(file, family);
    spec.ropes[0].style = RopeStyle::interleaved;  // llama's GGUF files hold query and key rows permuted for it
  } else if (family == "qwen2") {
    spec = common_from_gguf(file, family);
  } else if (family == "gemma3") {
    spec = gemma3_from_gguf(file);
  } else {
    refuse(file.path(), "general.architecture '" + family + "' is not supported (llama, qwen2 and gemma3 are)");
  }
  check_sizes(spec, file.path());
  return spec;
}

ModelSpec model_spec_from_config(const JsonObject& config) {
  const std::string type = config.get_string("model_type");
  ModelSpec spec;
  if (type == "llama" || type == "mistral" || type == "qwen2") {
    spec = common_from_config(config, type == "qwen2" ? "qwen2" : "llama");
    const std::string act = config.find_string("hidden_act").value_or("silu");
    if (act != "silu") refuse(config.where(), "hidden_act '" + act + "' is not supported (silu is)");
    // Mistral states a window only where it uses one; Qwen2 has a switch beside it.
    const int64_t window = type == "mistral" ? config.find_int("sliding_window").value_or(0) : 0;
    for (LayerSpec& layer : spec.layers) layer.window = narrow(config.where(), "sliding_window", window);
    if (config.find_bool("use_sliding_window").value_or(false)) {
      refuse(config.where(), "use_sliding_window is not supported for qwen2");
    }
  } else if (type == "gemma3_text") {
    spec = gemma3_from_config(config);
  } else if (type == "gemma3") {
    spec = gemma3_from_config(config.get_object("text_config"));
  } else {
    refuse(config.where(),
           "model_type '" + type + "' is not supported (llama, mistral, qwen2, gemma3, gemma3_text are)");
  }
  check_sizes(spec, config.where());
  return spec;
}

}  // namespace echelon
