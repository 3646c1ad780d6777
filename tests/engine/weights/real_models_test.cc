// Both real models, whole: every tensor's type, shape and float32 bits are those that PyPI `gguf` reads
// (make_weights.py). A missing model is a failure that says how to get it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <boost/json/array.hpp>

#include "engine/weights/json_file.h"
#include "engine/weights/weight_file.h"
#include "tests/engine/weights/file_builder.h"

namespace echelon {
namespace {

constexpr const char* kOracle = ECHELON_SOURCE_DIR "/tests/golden/weights/models.json";

/// Sum of (1-based index) * (float32 bits), modulo 2^64.
struct Checksum {
  uint64_t sum = 0;
  uint64_t index = 0;
  void add(std::span<const float> values) {
    for (const float value : values) sum += ++index * std::bit_cast<uint32_t>(value);
  }
};

uint64_t checksum_of(const WeightFile& weights, const TensorInfo& info) {
  Checksum checksum;
  if (info.shape.size() == 1) {
    checksum.add(weights.vector(info.name));
    return checksum.sum;
  }
  const auto matrix = weights.matrix(info.name);
  std::vector<float> row(static_cast<size_t>(matrix->cols()));
  for (int64_t r = 0; r < matrix->rows(); ++r) {
    matrix->read_floats(r, 0, row);
    checksum.add(row);
  }
  return checksum.sum;
}

class RealModel : public ::testing::TestWithParam<const char*> {};

TEST_P(RealModel, EveryTensorEqualsPython) {
  const JsonObject oracle = read_json_file(kOracle).get_object(GetParam());
  const std::string path = testing::model_file(oracle.get_string("file"));
  ASSERT_TRUE(std::filesystem::exists(path)) << path << " is missing: run launch/fetch-model";
  const auto weights = open_gguf(path);
  const JsonObject tensors = oracle.get_object("tensors");
  ASSERT_EQ(weights->tensors().size(), tensors.raw().size());
  for (const auto& [key, value] : tensors.raw()) {
    const std::string name(key.data(), key.size());
    const TensorInfo* info = weights->find(name);
    ASSERT_NE(info, nullptr) << name;
    const auto& expected = value.as_array();
    EXPECT_EQ(info->type_name, std::string_view(expected[0].as_string().data(), expected[0].as_string().size()))
        << name;
    std::vector<int64_t> shape;
    for (const auto& dimension : expected[1].as_array()) shape.push_back(dimension.as_int64());
    EXPECT_EQ(info->shape, shape) << name;
    EXPECT_EQ(fmt::format("{:016x}", checksum_of(*weights, *info)), expected[2].as_string().c_str()) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, RealModel, ::testing::Values("smollm2", "gemma3"),
                         [](const auto& suite) { return std::string(suite.param); });

TEST(RealModelMetadata, BigArraysArriveWhole) {
  const std::string path = testing::model_file("gemma-3-270m-q4_k_m.gguf");
  ASSERT_TRUE(std::filesystem::exists(path)) << path << " is missing: run launch/fetch-model";
  const auto file = GgufFile::open(path);
  const auto tokens = file->get_strings("tokenizer.ggml.tokens");
  ASSERT_EQ(tokens.size(), 262144u);
  EXPECT_EQ(tokens[2], "<bos>");
  EXPECT_EQ(tokens[file->get_uint("tokenizer.ggml.eos_token_id")], "<eos>");
  EXPECT_EQ(file->get_floats("tokenizer.ggml.scores").size(), tokens.size());
  EXPECT_EQ(file->get_ints("tokenizer.ggml.token_type").size(), tokens.size());
  EXPECT_EQ(file->get_uint("gemma3.embedding_length"), 640u);
  EXPECT_EQ(file->get_float("gemma3.rope.freq_base"), 1e6);
}

}  // namespace
}  // namespace echelon
