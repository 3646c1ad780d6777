// From a GGUF file's metadata to a model's sizes: the two real files, and broken metadata, which must be an Error that
// names the file and the key.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <variant>

#include "engine/model/model_spec.h"
#include "kernels/base/error.h"
#include "tests/engine/single_rank.h"
#include "tests/engine/weights/file_builder.h"

namespace echelon {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ModelSpecFromGguf, SmolLm2) {
  const ModelSpec spec = model_spec_from_gguf(*GgufFile::open(smollm2()));
  EXPECT_EQ(spec.family, "llama");
  EXPECT_EQ(spec.hidden, 576);
  EXPECT_EQ(spec.intermediate, 1536);
  EXPECT_EQ(spec.vocab, 49152);
  EXPECT_EQ(spec.num_layers, 30);
  EXPECT_EQ(spec.num_heads, 9);
  EXPECT_EQ(spec.num_kv_heads, 3);
  EXPECT_EQ(spec.head_dim, 64);
  EXPECT_EQ(spec.max_context, 8192);
  EXPECT_FLOAT_EQ(spec.norm_epsilon, 1e-5f);
  EXPECT_EQ(spec.norm_offset, 0);
  EXPECT_EQ(spec.gate, Gate::silu);
  EXPECT_EQ(spec.embedding_scale, 1);
  EXPECT_EQ(spec.attention_scale, 0.125f);
  EXPECT_EQ(spec.attention_softcap, 0);
  EXPECT_EQ(spec.logits_softcap, 0);
  ASSERT_EQ(spec.ropes.size(), 1u);
  EXPECT_EQ(spec.ropes[0].style, RopeStyle::interleaved);
  EXPECT_EQ(spec.ropes[0].base, 100'000);
  EXPECT_EQ(spec.ropes[0].position_scale, 1);
  EXPECT_FALSE(spec.ropes[0].llama3);
  ASSERT_EQ(spec.layers.size(), 30u);
  for (const LayerSpec& layer : spec.layers) {
    EXPECT_EQ(layer.window, 0);
    EXPECT_EQ(layer.rope, 0);
  }
}

TEST(ModelSpecFromGguf, Gemma3) {
  const ModelSpec spec = model_spec_from_gguf(*GgufFile::open(gemma3()));
  EXPECT_EQ(spec.family, "gemma3");
  EXPECT_EQ(spec.hidden, 640);
  EXPECT_EQ(spec.intermediate, 2048);
  EXPECT_EQ(spec.vocab, 262'144);
  EXPECT_EQ(spec.num_layers, 18);
  EXPECT_EQ(spec.num_heads, 4);
  EXPECT_EQ(spec.num_kv_heads, 1);
  EXPECT_EQ(spec.head_dim, 256) << "not hidden / heads";
  EXPECT_EQ(spec.max_context, 32'768);
  EXPECT_FLOAT_EQ(spec.norm_epsilon, 1e-6f);
  EXPECT_EQ(spec.norm_offset, 0) << "llama.cpp's converter adds the 1";
  EXPECT_EQ(spec.gate, Gate::gelu_tanh);
  EXPECT_FLOAT_EQ(spec.embedding_scale, std::sqrt(640.0f));
  EXPECT_EQ(spec.attention_scale, 1 / 16.0f);
  EXPECT_EQ(spec.ropes[0].style, RopeStyle::halves);
  ASSERT_EQ(spec.layers.size(), 18u);
  ASSERT_EQ(spec.ropes.size(), 2u);
  for (int layer = 0; layer < 18; ++layer) {
    const bool global = layer == 5 || layer == 11 || layer == 17;
    EXPECT_EQ(spec.layers[layer].window, global ? 0 : 512) << "layer " << layer;
    EXPECT_EQ(spec.ropes[spec.layers[layer].rope].base, global ? 1e6 : 1e4) << "layer " << layer;
  }
}

using Value = std::variant<uint32_t, int64_t, float, std::string>;

std::map<std::string, Value> small_llama() {
  return {{"general.architecture", std::string("llama")},
          {"llama.embedding_length", 64u},
          {"llama.feed_forward_length", 128u},
          {"llama.block_count", 2u},
          {"llama.attention.head_count", 4u},
          {"llama.attention.head_count_kv", 2u},
          {"llama.context_length", 256u},
          {"llama.attention.layer_norm_rms_epsilon", 1e-5f},
          {"llama.rope.dimension_count", 16u}};
}

/// A GGUF file with this metadata and an embedding of 8 rows of 64.
ModelSpec from_gguf(const std::map<std::string, Value>& metadata, const std::string& embedding = "token_embd.weight") {
  testing::BuiltFile file;
  file.put<uint32_t>("magic", 0x46554747);
  file.put<uint32_t>("version", 3);
  file.put<uint64_t>("tensors", 1);
  file.put<uint64_t>("entries", metadata.size());
  for (const auto& [key, value] : metadata) {
    constexpr uint32_t kTypes[] = {4, 11, 6, 8};  // uint32, int64, float32, string
    file.put_text("key", key);
    file.put<uint32_t>("type", kTypes[value.index()]);
    if (const auto* text = std::get_if<std::string>(&value)) file.put_text("value", *text);
    if (const auto* number = std::get_if<uint32_t>(&value)) file.put("value", *number);
    if (const auto* number = std::get_if<int64_t>(&value)) file.put("value", *number);
    if (const auto* number = std::get_if<float>(&value)) file.put("value", *number);
  }
  file.put_text("name", embedding);
  file.put<uint32_t>("dimensions", 2);
  file.put<uint64_t>("columns", 64);
  file.put<uint64_t>("rows", 8);
  file.put<uint32_t>("tensor type", 0);
  file.put<uint64_t>("offset", 0);
  file.bytes.resize((file.bytes.size() + 31) / 32 * 32 + 64 * 8 * sizeof(float));
  const testing::TemporaryFolder folder;
  return model_spec_from_gguf(*GgufFile::open(folder.write("small.gguf", file.bytes)));
}

TEST(ModelSpecFromGguf, ASmallFileHasTheSizesItStates) {
  const ModelSpec spec = from_gguf(small_llama());
  EXPECT_EQ(spec.vocab, 8) << "rows of the embedding";
  EXPECT_EQ(spec.head_dim, 16);
  EXPECT_EQ(spec.ropes.at(0).base, 10'000) << "where none is stated";
  auto scaled = small_llama();
  scaled["llama.rope.scaling.type"] = "linear";
  scaled["llama.rope.scaling.factor"] = 4.0f;
  EXPECT_EQ(from_gguf(scaled).ropes.at(0).position_scale, 0.25);
}

TEST(ModelSpecFromGguf, BrokenMetadataIsAnErrorThatNamesFileAndKey) {
  const std::pair<std::string, std::optional<Value>> changes[] = {
      {"general.architecture", std::nullopt},
      {"general.architecture", 3u},
      {"llama.embedding_length", std::nullopt},
      {"llama.embedding_length", 0u},
      {"llama.embedding_length", int64_t{-64}},
      {"llama.embedding_length", "64"},
      {"llama.feed_forward_length", 0u},
      {"llama.feed_forward_length", 1e9f},
      {"llama.feed_forward_length", int64_t{1} << 62},
      {"llama.block_count", 0u},
      {"llama.block_count", 0xffffffffu},
      {"llama.attention.head_count", 0u},
      {"llama.attention.head_count", int64_t{-4}},
      {"llama.attention.head_count_kv", 0u},
      {"llama.attention.head_count_kv", 3u},
      {"llama.attention.head_count_kv", 8u},
      {"llama.context_length", 0u},
      {"llama.context_length", std::nullopt},
      {"llama.attention.layer_norm_rms_epsilon", 0.0f},
      {"llama.attention.layer_norm_rms_epsilon", std::numeric_limits<float>::quiet_NaN()},
      {"llama.rope.freq_base", "1e4"},
      {"llama.rope.freq_base", -1.0f},
      {"llama.rope.freq_base", std::numeric_limits<float>::infinity()}};
  for (const auto& [key, value] : changes) {
    auto metadata = small_llama();
    metadata.erase(key);
    if (value) metadata[key] = *value;
    const std::string message = testing::error_of([&] { from_gguf(metadata); });
    const std::string short_key = key.substr(key.rfind('.') + 1);
    EXPECT_THAT(message, AllOf(HasSubstr("small.gguf"), HasSubstr(short_key)));
  }
}

TEST(ModelSpecFromGguf, RefusesWhatItCannotComputeByName) {
  const std::tuple<std::string, Value, std::string> changes[] = {{"general.architecture", "gpt2", "gpt2"},
                                                                 {"llama.rope.scaling.type", "yarn", "yarn"},
                                                                 {"llama.rope.dimension_count", 8u, "rope"},
                                                                 {"llama.attention.value_length", 32u, "values"}};
  for (const auto& [key, value, name] : changes) {
    auto metadata = small_llama();
    metadata[key] = value;
    EXPECT_THAT(testing::error_of([&] { from_gguf(metadata); }), AllOf(HasSubstr("small.gguf"), HasSubstr(name)));
  }
  EXPECT_THAT(testing::error_of([] { from_gguf(small_llama(), "embedding"); }), HasSubstr("token_embd.weight"));
}

}  // namespace
}  // namespace echelon
