// One short function per architecture and file format: metadata in, ModelSpec out.
#include <fmt/format.h>

#include <cmath>

#include "engine/model/model_spec.h"
#include "kernels/base/error.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int kMaxLayers = 4096, kMaxHeads = 4096;
constexpr int kMaxHeadSize = 256;  ///< of the attention kernels

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(Part::model, where + ": " + what);
}

/// The value, when it lies in [least, most]; an error naming the key otherwise.
int64_t in_range(const std::string& where, const std::string& key, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most) {
    refuse(where, fmt::format("{} is {}, expected {} to {}", key, value, least, most));
  }
  return value;
}

int int_in_range(const std::string& where, const std::string& key, int64_t value, int64_t least, int64_t most) {
  return static_cast<int>(in_range(where, key, value, least, most));
}

/// The same for numbers; a NaN is never in range.
double number_in_range(const std::string& where, const std::string& key, double value, double least, double most) {
  if (!(value >= least && value <= most)) {
    refuse(where, fmt::format("{} is {}, expected {} to {}", key, value, least, most));
  }
  return value;
}

/// The names under which a format keeps the sizes that all families have.
struct Keys {
  std::string hidden, intermediate, layers, heads, kv_heads, head_dim, context, epsilon, logits_softcap;
};

constexpr double kMaxRopeBase = 1e12, kMaxRopeFactor = 1e6, kMaxSoftcap = 1e6;

/// Reads them all, each checked before anything is computed from it; find_int and find_float come from the format's
/// reader.
template <typename Source>
ModelSpec common_sizes(const Source& source, const std::string& where, const std::string& family, const Keys& keys) {
  ModelSpec spec;
  spec.family = family;
  spec.hidden = in_range(where, keys.hidden, source.get_int(keys.hidden), 1, kMaxWidth);
  spec.intermediate = in_range(where, keys.intermediate, source.get_int(keys.intermediate), 1, kMaxWidth);
  spec.num_layers = int_in_range(where, keys.layers, source.get_int(keys.layers), 1, kMaxLayers);
  spec.num_heads = int_in_range(where, keys.heads, source.get_int(keys.heads), 1, kMaxHeads);
  spec.num_kv_heads =
      int_in_range(where, keys.kv_heads, source.find_int(keys.kv_heads).value_or(spec.num_heads), 1, spec.num_heads);
  if (spec.num_heads % spec.num_kv_heads != 0) {
    refuse(where, fmt::format("{} = {} is not a multiple of {} = {}", keys.heads, spec.num_heads, keys.kv_heads,
                              spec.num_kv_heads));
  }
  const auto head_dim = source.find_int(keys.head_dim);
  if (!head_dim && spec.hidden % spec.num_heads != 0) {
    refuse(where, fmt::format("{} = {} is not a multiple of {} = {}, and there is no {}", keys.hidden, spec.hidden,
                              keys.heads, spec.num_heads, keys.head_dim));
  }
  spec.head_dim = int_in_range(where, head_dim ? keys.head_dim : keys.hidden + " / " + keys.heads,
                               head_dim.value_or(spec.hidden / spec.num_heads), 16, kMaxHeadSize);
  if (spec.head_dim % 16 != 0)
    refuse(where, fmt::format("{} = {} is not a multiple of 16", keys.head_dim, spec.head_dim));
  spec.max_context = in_range(where, keys.context, source.get_int(keys.context), 1, kMaxModelLen);
  spec.norm_epsilon =
      static_cast<float>(number_in_range(where, keys.epsilon, source.get_float(keys.epsilon), 1e-30, 0.5));
  spec.logits_softcap = static_cast<float>(
      number_in_range(where, keys.logits_softcap, source.find_float(keys.logits_softcap).value_or(0), 0, kMaxSoftcap));
  spec.attention_scale = 1.0f / std::sqrt(static_cast<float>(spec.head_dim));
  spec.layers.resize(spec.num_layers);
  return spec;
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
  ModelSpec spec = common_sizes(file, where, family,
                                {.hidden = key("embedding_length"),
                                 .intermediate = key("feed_forward_length"),
                                 .layers = key("block_count"),
                                 .heads = key("attention.head_count"),
                                 .kv_heads = key("attention.head_count_kv"),
                                 .head_dim = key("attention.key_length"),
                                 .context = key("context_length"),
                                 .epsilon = key("attention.layer_norm_rms_epsilon"),
                                 .logits_softcap = key("final_logit_softcapping")});
  const int64_t value_length = file.find_int(key("attention.value_length")).value_or(spec.head_dim);
  if (value_length != spec.head_dim) refuse(where, "keys and values of different head sizes are not supported");
  const GgufTensor* embedding = file.find_tensor("token_embd.weight");
  if (!embedding || embedding->shape.size() != 2) refuse(where, "tensor token_embd.weight is missing or not a matrix");
  spec.vocab = in_range(where, "token_embd.weight's number of rows", embedding->shape[0], 2, kMaxVocab);
  const int64_t rotary = file.find_int(key("rope.dimension_count")).value_or(spec.head_dim);
  if (rotary != spec.head_dim) refuse(where, "rope over a part of the head is not supported");
  RopeSpec rope;
  rope.base = number_in_range(where, key("rope.freq_base"), file.find_float(key("rope.freq_base")).value_or(10000.0), 1,
                              kMaxRopeBase);
  const auto scaling = file.find_string(key("rope.scaling.type"));
  if (scaling && *scaling == "linear") {
    const std::string factor = key("rope.scaling.factor");
    rope.position_scale = 1.0 / number_in_range(where, factor, file.get_float(factor), 1, kMaxRopeFactor);
  } else if (scaling && *scaling != "none") {
    refuse(where, fmt::format("rope scaling '{}' is not supported (linear is)", *scaling));
  }
  spec.ropes.push_back(rope);
  return spec;
}

/// rope_scaling, or rope_parameters as newer files have it: the base may stand there, too.
RopeSpec rope_from_config(const JsonObject& config) {
  const std::string& where = config.where();
  RopeSpec rope;
  const bool newer = config.has("rope_parameters");
  const auto scaling = config.find_object(newer ? "rope_parameters" : "rope_scaling");
  if (newer && !config.has("rope_theta") && !scaling->has("rope_theta")) {
    refuse(where, "rope_parameters without one rope_theta is not supported");
  }
  const auto base =
      newer && scaling->has("rope_theta") ? scaling->find_float("rope_theta") : config.find_float("rope_theta");
  rope.base = number_in_range(where, "rope_theta", base.value_or(10000.0), 1, kMaxRopeBase);
  if (!scaling) return rope;
  const std::string type = scaling->find_string("rope_type").value_or(scaling->find_string("type").value_or("default"));
  const auto factor = [&](const char* key, double least) {
    return number_in_range(scaling->where(), key, scaling->get_float(key), least, kMaxRopeFactor);
  };
  if (type == "linear") {
    rope.position_scale = 1.0 / factor("factor", 1);
  } else if (type == "llama3") {
    rope.llama3 = RopeSpec::Llama3{.factor = factor("factor", 1),
                                   .low_freq_factor = factor("low_freq_factor", 1e-6),
                                   .high_freq_factor = factor("high_freq_factor", 1e-6),
                                   .original_context = factor("original_max_position_embeddings", 1)};
    if (!(rope.llama3->high_freq_factor > rope.llama3->low_freq_factor)) {
      refuse(scaling->where(), "rope's high_freq_factor is not above its low_freq_factor");
    }
  } else if (type != "default") {
    refuse(where, fmt::format("rope_scaling '{}' is not supported (linear and llama3 are)", type));
  }
  return rope;
}

ModelSpec common_from_config(const JsonObject& config, const std::string& family) {
  ModelSpec spec = common_sizes(config, config.where(), family,
                                {.hidden = "hidden_size",
                                 .intermediate = "intermediate_size",
                                 .layers = "num_hidden_layers",
                                 .heads = "num_attention_heads",
                                 .kv_heads = "num_key_value_heads",
                                 .head_dim = "head_dim",
                                 .context = "max_position_embeddings",
                                 .epsilon = "rms_norm_eps",
                                 .logits_softcap = "final_logit_softcapping"});
  spec.vocab = in_range(config.where(), "vocab_size", config.get_int("vocab_size"), 2, kMaxVocab);
  if (config.find_bool("mlp_bias").value_or(false)) refuse(config.where(), "mlp_bias is not supported");
  spec.ropes.push_back(rope_from_config(config));
  return spec;
}

/// Newer files name every layer's kind; it must be what the other keys say.
void check_layer_types(const JsonObject& config, const ModelSpec& spec) {
  const auto types = config.find_strings("layer_types");
  if (!types) return;
  if (types->size() != spec.layers.size()) {
    refuse(config.where(), fmt::format("layer_types has {} entries for {} layers", types->size(), spec.layers.size()));
  }
  for (size_t layer = 0; layer < types->size(); ++layer) {
    const char* const expected = spec.layers[layer].window > 0 ? "sliding_attention" : "full_attention";
    if ((*types)[layer] != expected) {
      refuse(config.where(), fmt::format("layer_types says '{}' for layer {}; {} is supported there", (*types)[layer],
                                         layer, expected));
    }
  }
}

/// Larger Gemma 3 models scale scores by something else than the head size.
ModelSpec gemma3_from_gguf(const GgufFile& file) {
  const std::string& where = file.path();
  ModelSpec spec = common_from_gguf(file, "gemma3");
  const std::string window = "gemma3.attention.sliding_window", pattern = window + "_pattern",
                    base = "gemma3.rope.freq_base_swa";
  set_gemma3_layers(spec, int_in_range(where, window, file.get_int(window), 1, kMaxModelLen),
                    int_in_range(where, pattern, file.find_int(pattern).value_or(6), 1, kMaxLayers),
                    number_in_range(where, base, file.find_float(base).value_or(10000.0), 1, kMaxRopeBase));
  constexpr int kLayersOf27B = 62;  // GGUF files do not say query_pre_attn_scalar; only the 27B model differs
  if (spec.num_layers == kLayersOf27B) {
    spec.attention_scale = 1.0f / std::sqrt(static_cast<float>(spec.hidden) / static_cast<float>(spec.num_heads));
  }
  return spec;
}

ModelSpec gemma3_from_config(const JsonObject& config) {
  const std::string& where = config.where();
  ModelSpec spec = common_from_config(config, "gemma3");
  const auto number = [&](const char* key, double otherwise, double least, double most) {
    return number_in_range(where, key, config.find_float(key).value_or(otherwise), least, most);
  };
  set_gemma3_layers(spec, int_in_range(where, "sliding_window", config.get_int("sliding_window"), 1, kMaxModelLen),
                    int_in_range(where, "sliding_window_pattern", config.find_int("sliding_window_pattern").value_or(6),
                                 1, kMaxLayers),
                    number("rope_local_base_freq", 10000.0, 1, kMaxRopeBase));
  spec.attention_scale = static_cast<float>(1.0 / std::sqrt(number("query_pre_attn_scalar", spec.head_dim, 1e-3, 1e6)));
  spec.attention_softcap = static_cast<float>(number("attn_logit_softcapping", 0, 0, kMaxSoftcap));
  spec.norm_offset = 1.0f;
  const std::string act = config.find_string("hidden_activation").value_or("gelu_pytorch_tanh");
  if (act != "gelu_pytorch_tanh") {
    refuse(where, "hidden_activation '" + act + "' is not supported (gelu_pytorch_tanh is)");
  }
  check_layer_types(config, spec);
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
    for (LayerSpec& layer : spec.layers) {
      layer.window = int_in_range(config.where(), "sliding_window", window, 0, kMaxModelLen);
    }
    if (config.find_bool("use_sliding_window").value_or(false)) {
      refuse(config.where(), "use_sliding_window is not supported for qwen2");
    }
    check_layer_types(config, spec);
  } else if (type == "gemma3_text") {
    spec = gemma3_from_config(config);
  } else if (type == "gemma3") {
    spec = gemma3_from_config(config.get_object("text_config"));
  } else {
    refuse(config.where(),
           "model_type '" + type + "' is not supported (llama, mistral, qwen2, gemma3, gemma3_text are)");
  }
  return spec;
}

}  // namespace echelon
