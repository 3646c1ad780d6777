// From config.json to a model's sizes, for each architecture; and broken ones, which must be an Error that names the
// file and the key.
#include "engine/model/model_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>

#include "kernels/base/error.h"

namespace echelon {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
namespace json = boost::json;

/// Every sixth layer sees everything with the long base; the others see `window` keys with the local base.
void expect_gemma3_layers(const ModelSpec& spec, int num_layers, int window) {
  ASSERT_EQ(spec.layers.size(), static_cast<size_t>(num_layers));
  ASSERT_EQ(spec.ropes.size(), 2u);
  EXPECT_EQ(spec.ropes[0].base, 1e6);
  EXPECT_EQ(spec.ropes[1].base, 1e4);
  EXPECT_EQ(spec.ropes[1].position_scale, 1);
  for (int layer = 0; layer < num_layers; ++layer) {
    const bool global = layer % 6 == 5;
    EXPECT_EQ(spec.layers[layer].window, global ? 0 : window) << "layer " << layer;
    EXPECT_EQ(spec.ropes[spec.layers[layer].rope].base, global ? 1e6 : 1e4) << "layer " << layer;
  }
}

constexpr const char* kLlama =
    R"({"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "vocab_size": 128256,
  "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131072,
  "rms_norm_eps": 1e-05, "hidden_act": "silu", "rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 32.0,
  "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}})";
constexpr const char* kMistral =
    R"({"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 32000,
  "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 32768,
  "rms_norm_eps": 1e-05, "hidden_act": "silu", "rope_theta": 10000.0, "sliding_window": 4096})";
constexpr const char* kQwen2 =
    R"({"model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "vocab_size": 151936,
  "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 32768,
  "rms_norm_eps": 1e-06, "hidden_act": "silu", "rope_theta": 1e6, "sliding_window": 32768, "use_sliding_window": false,
  "rope_scaling": null})";
constexpr const char* kGemma3 =
    R"({"model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912, "vocab_size": 262144,
  "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "max_position_embeddings": 32768,
  "rms_norm_eps": 1e-06, "hidden_activation": "gelu_pytorch_tanh", "rope_theta": 1e6, "rope_local_base_freq": 10000.0,
  "sliding_window": 512, "sliding_window_pattern": 6, "query_pre_attn_scalar": 144, "final_logit_softcapping": 30.0,
  "attn_logit_softcapping": null})";

ModelSpec from_config(const std::string& text) {
  return model_spec_from_config(parse_json_object(text, "some/config.json"));
}

TEST(ModelSpecFromConfig, LlamaWithItsRopeScaling) {
  const ModelSpec spec = from_config(kLlama);
  EXPECT_EQ(spec.family, "llama");
  EXPECT_EQ(spec.hidden, 2048);
  EXPECT_EQ(spec.intermediate, 8192);
  EXPECT_EQ(spec.vocab, 128'256);
  EXPECT_EQ(spec.num_layers, 16);
  EXPECT_EQ(spec.num_heads, 32);
  EXPECT_EQ(spec.num_kv_heads, 8);
  EXPECT_EQ(spec.head_dim, 64);
  EXPECT_EQ(spec.max_context, 131'072);
  EXPECT_FLOAT_EQ(spec.norm_epsilon, 1e-5f);
  EXPECT_EQ(spec.attention_scale, 0.125f);
  EXPECT_EQ(spec.ropes.at(0).style, RopeStyle::halves) << "safetensors hold the rows as they were trained";
  EXPECT_EQ(spec.ropes[0].base, 500'000);
  ASSERT_TRUE(spec.ropes[0].llama3);
  EXPECT_EQ(spec.ropes[0].llama3->factor, 32);
  EXPECT_EQ(spec.ropes[0].llama3->low_freq_factor, 1);
  EXPECT_EQ(spec.ropes[0].llama3->high_freq_factor, 4);
  EXPECT_EQ(spec.ropes[0].llama3->original_context, 8192);
  EXPECT_EQ(spec.layers.size(), 16u);
}

TEST(ModelSpecFromConfig, MistralHasTheWindowItStatesInEveryLayer) {
  const ModelSpec spec = from_config(kMistral);
  EXPECT_EQ(spec.family, "llama");
  EXPECT_EQ(spec.head_dim, 128) << "hidden / heads where none is stated";
  ASSERT_EQ(spec.layers.size(), 32u);
  for (const LayerSpec& layer : spec.layers) EXPECT_EQ(layer.window, 4096);
}

TEST(ModelSpecFromConfig, Qwen2HasNoWindowWhereItsSwitchIsOff) {
  const ModelSpec spec = from_config(kQwen2);
  EXPECT_EQ(spec.family, "qwen2");
  EXPECT_EQ(spec.head_dim, 64);
  EXPECT_EQ(spec.ropes.at(0).base, 1e6);
  EXPECT_FALSE(spec.ropes[0].llama3);
  for (const LayerSpec& layer : spec.layers) EXPECT_EQ(layer.window, 0);
}

TEST(ModelSpecFromConfig, Gemma3AloneAndInsideAModelOfTextAndImages) {
  for (const std::string& text :
       {std::string(kGemma3), R"({"model_type": "gemma3", "text_config": )" + std::string(kGemma3) + "}"}) {
    const ModelSpec spec = from_config(text);
    EXPECT_EQ(spec.family, "gemma3");
    EXPECT_EQ(spec.norm_offset, 1) << "safetensors hold weights less 1";
    EXPECT_EQ(spec.gate, Gate::gelu_tanh);
    EXPECT_FLOAT_EQ(spec.embedding_scale, std::sqrt(1152.0f));
    EXPECT_FLOAT_EQ(spec.attention_scale, 1 / 12.0f) << "query_pre_attn_scalar";
    EXPECT_EQ(spec.logits_softcap, 30);
    EXPECT_EQ(spec.attention_softcap, 0);
    expect_gemma3_layers(spec, 26, 512);
  }
}

TEST(ModelSpecFromConfig, LinearRopeScalingDividesPositions) {
  json::object config = json::parse(kGemma3).as_object();
  config["rope_scaling"] = json::parse(R"({"rope_type": "linear", "factor": 8.0})");
  const ModelSpec spec = from_config(json::serialize(config));
  EXPECT_EQ(spec.ropes.at(0).position_scale, 0.125);
  EXPECT_EQ(spec.ropes.at(1).position_scale, 1) << "local layers are not scaled";
}

/// What the Error says that model_spec_from_config throws; empty when it throws none.
std::string config_error(const std::string& text) {
  try {
    from_config(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// One change of a config: a value, or "" for the key taken out. `path` is "key" or "object.key".
struct Change {
  const char* config;
  const char* path;
  const char* value;
};

std::string changed(const Change& change) {
  json::object config = json::parse(change.config).as_object();
  const std::string path = change.path;
  const size_t dot = path.find('.');
  json::object& object = dot == std::string::npos ? config : config[path.substr(0, dot)].as_object();
  const std::string key = dot == std::string::npos ? path : path.substr(dot + 1);
  if (*change.value == '\0') {
    object.erase(key);
  } else {
    object[key] = json::parse(change.value);
  }
  return json::serialize(config);
}

/// Each change gives an Error that holds the file and the key.
void expect_named(std::initializer_list<Change> changes) {
  for (const Change& change : changes) {
    const std::string path = change.path;
    EXPECT_THAT(config_error(changed(change)),
                AllOf(HasSubstr("some/config.json"), HasSubstr(path.substr(path.find('.') + 1))))
        << path << " = " << change.value;
  }
}

TEST(ModelSpecFromConfig, WhatIsMissingIsNamed) {
  expect_named({{kLlama, "model_type", ""},
                {kLlama, "hidden_size", ""},
                {kLlama, "intermediate_size", ""},
                {kLlama, "vocab_size", ""},
                {kLlama, "num_hidden_layers", ""},
                {kLlama, "num_attention_heads", ""},
                {kLlama, "max_position_embeddings", ""},
                {kLlama, "rms_norm_eps", ""},
                {kLlama, "hidden_size", "null"},
                {kGemma3, "sliding_window", ""},
                {kLlama, "rope_scaling.factor", ""},
                {kLlama, "rope_scaling.low_freq_factor", ""},
                {kLlama, "rope_scaling.original_max_position_embeddings", ""}});
}

TEST(ModelSpecFromConfig, WhatHasAnotherTypeIsNamed) {
  expect_named({{kLlama, "model_type", "7"},
                {kLlama, "hidden_size", "\"2048\""},
                {kLlama, "intermediate_size", "[8192]"},
                {kLlama, "vocab_size", "true"},
                {kLlama, "num_hidden_layers", "16.5"},
                {kLlama, "num_attention_heads", "{}"},
                {kLlama, "head_dim", "64.25"},
                {kLlama, "rms_norm_eps", "\"1e-5\""},
                {kLlama, "rope_theta", "[500000]"},
                {kLlama, "rope_scaling", "\"llama3\""},
                {kLlama, "rope_scaling.factor", "\"8\""},
                {kQwen2, "use_sliding_window", "1"},
                {kLlama, "hidden_act", "1"},
                {kMistral, "sliding_window", "\"4096\""},
                {kGemma3, "query_pre_attn_scalar", "false"}});
}

TEST(ModelSpecFromConfig, WhatDoesNotFitIsNamed) {
  expect_named({{kLlama, "num_hidden_layers", "0"},
                {kLlama, "num_hidden_layers", "-1"},
                {kLlama, "num_hidden_layers", "2000000000"},
                {kLlama, "num_hidden_layers", "4294967312"},
                {kLlama, "num_attention_heads", "0"},
                {kLlama, "num_attention_heads", "-32"},
                {kLlama, "num_attention_heads", "4294967328"},
                {kLlama, "num_key_value_heads", "-8"},
                {kLlama, "head_dim", "-64"},
                {kLlama, "hidden_size", "9223372036854775808"},
                {kLlama, "hidden_size", "1e300"},
                {kMistral, "sliding_window", "-1"},
                {kMistral, "sliding_window", "4294967296"},
                {kGemma3, "sliding_window", "0"},
                {kGemma3, "query_pre_attn_scalar", "0"},
                {kGemma3, "query_pre_attn_scalar", "-256"}});
}

TEST(ModelSpecFromConfig, AnAbsurdSizeIsNamed) {
  expect_named({{kLlama, "hidden_size", "0"},
                {kLlama, "hidden_size", "-2048"},
                {kMistral, "hidden_size", "-4096"},
                {kMistral, "hidden_size", "4611686018427387904"},
                {kLlama, "hidden_size", "1048577"},
                {kLlama, "intermediate_size", "0"},
                {kLlama, "intermediate_size", "-1"},
                {kLlama, "intermediate_size", "9223372036854775807"},
                {kLlama, "vocab_size", "0"},
                {kLlama, "vocab_size", "1"},
                {kLlama, "vocab_size", "2097153"},
                {kLlama, "num_attention_heads", "4097"},
                {kLlama, "num_key_value_heads", "0"},
                {kLlama, "num_key_value_heads", "33"},
                {kLlama, "num_key_value_heads", "5"},
                {kLlama, "head_dim", "0"},
                {kLlama, "head_dim", "24"},
                {kLlama, "head_dim", "2048"},
                {kLlama, "max_position_embeddings", "0"},
                {kLlama, "max_position_embeddings", "-5"},
                {kLlama, "max_position_embeddings", "1048577"},
                {kLlama, "rms_norm_eps", "0"},
                {kLlama, "rms_norm_eps", "-1e-5"},
                {kLlama, "rms_norm_eps", "1"},
                {kLlama, "rms_norm_eps", "1e300"},
                {kLlama, "rope_theta", "0"},
                {kLlama, "rope_theta", "-1e4"},
                {kLlama, "rope_theta", "1e300"},
                {kGemma3, "rope_local_base_freq", "-1"},
                {kGemma3, "sliding_window_pattern", "0"}});
}

TEST(ModelSpecFromConfig, RefusesARopeScalingOutOfRange) {
  for (const Change& change :
       {Change{kLlama, "rope_scaling.factor", "0"}, Change{kLlama, "rope_scaling.factor", "-8"},
        Change{kLlama, "rope_scaling.factor", "0.5"}, Change{kLlama, "rope_scaling.low_freq_factor", "0"},
        Change{kLlama, "rope_scaling.high_freq_factor", "1"},
        Change{kLlama, "rope_scaling.original_max_position_embeddings", "0"},
        Change{kLlama, "rope_scaling", R"({"rope_type": "linear", "factor": 0})"},
        Change{kLlama, "rope_scaling", R"({"rope_type": "linear", "factor": -4})"},
        Change{kLlama, "rope_scaling", R"({"rope_type": "linear", "factor": 0.25})"}}) {
    EXPECT_THAT(config_error(changed(change)), AllOf(HasSubstr("some/config.json"), HasSubstr("rope")))
        << change.path << " " << change.value;
  }
}

TEST(ModelSpecFromConfig, RefusesFactorsThatNoFloatHolds) {
  for (const std::string factor : {"32.0", "1.0", "4.0"}) {
    std::string text = kLlama;
    text.replace(text.find("factor\": " + factor) + 9, factor.size(), "1e999");
    EXPECT_THAT(config_error(text), HasSubstr("some/config.json")) << text;
  }
}

TEST(ModelSpecFromConfig, ASoftcapOutOfRangeIsNamed) {
  for (const char* key : {"final_logit_softcapping", "attn_logit_softcapping"}) {
    for (const char* value : {"-1", "-30.0", "1e300", "\"30\""}) expect_named({{kGemma3, key, value}});
  }
}

TEST(ModelSpecFromConfig, RefusesWhatItCannotComputeByName) {
  const std::pair<Change, const char*> cases[] = {
      {{kLlama, "model_type", "\"mixtral\""}, "mixtral"},
      {{kLlama, "hidden_act", "\"relu\""}, "relu"},
      {{kQwen2, "use_sliding_window", "true"}, "use_sliding_window"},
      {{kLlama, "rope_scaling", R"({"rope_type": "yarn", "factor": 4.0})"}, "yarn"},
      {{kLlama, "rope_scaling", R"({"type": "dynamic", "factor": 4.0})"}, "dynamic"},
      {{kGemma3, "hidden_activation", "\"gelu\""}, "hidden_activation"},
      {{kGemma3, "layer_types", R"(["full_attention"])"}, "layer_types has 1 entries for 26"}};
  for (const auto& [change, name] : cases) EXPECT_THAT(config_error(changed(change)), HasSubstr(name));
}

TEST(ModelSpecFromConfig, LayerTypesMustBeWhatTheOtherKeysSay) {
  const auto types_of = [](const char* text) {
    json::array types;
    for (const LayerSpec& layer : from_config(text).layers)
      types.emplace_back(layer.window > 0 ? "sliding_attention" : "full_attention");
    return types;
  };
  for (const char* text : {kLlama, kMistral, kQwen2, kGemma3}) {
    json::array types = types_of(text);
    EXPECT_EQ(config_error(changed({text, "layer_types", json::serialize(types).c_str()})), "");
    types[3] = types[3] == "full_attention" ? "sliding_attention" : "full_attention";
    EXPECT_THAT(config_error(changed({text, "layer_types", json::serialize(types).c_str()})), HasSubstr("for layer 3"));
  }
}

TEST(ModelSpecFromConfig, NoChangeOfOneValueCrashesIt) {
  for (const char* text : {kLlama, kMistral, kQwen2, kGemma3}) {
    const json::value document = json::parse(text);
    for (const auto& member : document.as_object()) {
      for (const char* value : {"", "null", "0", "-1", "1", "1.5", "1e308", "-1e308", "9223372036854775807",
                                "-9223372036854775808", "18446744073709551615", "\"x\"", "[]", "{}", "true"}) {
        try {
          const ModelSpec spec = from_config(changed({text, std::string(member.key()).c_str(), value}));
          EXPECT_EQ(spec.layers.size(), static_cast<size_t>(spec.num_layers));
          for (const LayerSpec& layer : spec.layers) ASSERT_LT(static_cast<size_t>(layer.rope), spec.ropes.size());
          EXPECT_EQ(spec.num_heads % spec.num_kv_heads, 0);
          EXPECT_TRUE(std::isfinite(spec.attention_scale) && spec.attention_scale > 0);
        } catch (const Error& error) {
          EXPECT_THAT(error.what(), HasSubstr("some/config.json"));
        }
      }
    }
  }
}

}  // namespace
}  // namespace echelon
