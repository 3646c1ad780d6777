// Tensors by name over both formats: values, shapes, errors that name tensor and file, split GGUF files, sharded
// folders, and matrices that outlive the WeightFile they came from.
#include "engine/weights/weight_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/base/half.h"
#include "tests/engine/weights/file_builder.h"

namespace echelon {
namespace {

using testing::build_gguf;
using testing::build_safetensors;
using testing::BuiltFile;
using testing::bytes_of;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

std::vector<float> row_of(const MatrixSource& matrix, int64_t row) {
  std::vector<float> out(static_cast<size_t>(matrix.cols()));
  matrix.read_floats(row, 0, out);
  return out;
}

TEST(WeightFileGguf, ReadsMatricesAndVectors) {
  const TemporaryFolder folder;
  std::shared_ptr<const MatrixSource> matrix;
  {
    const auto weights = open_gguf(folder.write("a.gguf", build_gguf().bytes));
    EXPECT_EQ(weights->num_bytes(), 4u * 34 + 32 * 4);
    ASSERT_TRUE(weights->has("w"));
    EXPECT_EQ(weights->find("w")->type_name, "Q8_0");
    EXPECT_THAT(weights->find("w")->shape, ElementsAre(2, 64));
    const auto vector = weights->vector("n", 32);
    EXPECT_EQ(vector[0], 0.0f);
    EXPECT_EQ(vector[31], 31.0f);
    weights->read_ahead("w", 1, 1);
    weights->read_ahead("n", 0, 1);
    matrix = weights->matrix("w", 2, 64);
    EXPECT_EQ(row_of(*matrix, 0)[0], 1.0f);
    weights->drop_pages();
  }
  EXPECT_EQ(matrix->rows(), 2);
  EXPECT_EQ(matrix->cols(), 64);
  EXPECT_EQ(row_of(*matrix, 0)[0], 1.0f);
  EXPECT_EQ(row_of(*matrix, 0)[63], 64.0f);
  EXPECT_EQ(row_of(*matrix, 1)[0], 65.0f);
  EXPECT_EQ(row_of(*matrix, 1)[63], -128.0f);  // the byte 128
}

TEST(WeightFileGguf, ErrorsNameTensorFileAndShape) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.gguf", build_gguf().bytes);
  const auto weights = open_gguf(path);
  EXPECT_THAT(error_of([&] { weights->matrix("absent"); }), HasSubstr(path + ": tensor \"absent\" is missing"));
  EXPECT_THAT(error_of([&] { weights->matrix("n"); }),
              HasSubstr(path + ": tensor \"n\" has shape [32]; a matrix of two"));
  EXPECT_THAT(error_of([&] { weights->vector("w"); }), HasSubstr("tensor \"w\" has shape [2, 64]; a vector of one"));
  EXPECT_THAT(error_of([&] { weights->matrix("w", 64, 2); }),
              HasSubstr("tensor \"w\" has shape [2, 64]; [64, 2] is needed"));
  EXPECT_THAT(error_of([&] { weights->vector("n", 33); }), HasSubstr("tensor \"n\" has shape [32]; [33] is needed"));
}

class SplitGguf : public ::testing::Test {
 protected:
  std::string write_part(int number, int count, uint16_t split_no, uint16_t split_count, int32_t total,
                         const std::string& prefix) {
    const BuiltFile part = build_gguf({.split_no = split_no,
                                       .split_count = split_count,
                                       .split_tensors = total,
                                       .matrix_name = prefix + ".w",
                                       .vector_name = prefix + ".n"});
    return folder_.write(fmt::format("m-{:05}-of-{:05}.gguf", number, count), part.bytes);
  }
  TemporaryFolder folder_;
};

TEST_F(SplitGguf, AllPartsAreOneFile) {
  const std::string first = write_part(1, 2, 0, 2, 4, "a");
  const std::string second = write_part(2, 2, 1, 2, 4, "b");
  const auto weights = open_gguf(first);
  EXPECT_EQ(weights->tensors().size(), 4u);
  EXPECT_EQ(row_of(*weights->matrix("b.w"), 0)[5], 6.0f);
  EXPECT_THAT(error_of([&] { open_gguf(second); }), HasSubstr("split.no is 1: this is not the first part"));
}

TEST_F(SplitGguf, PartsThatDoNotBelongTogether) {
  const std::string first = write_part(1, 2, 0, 2, 4, "a");
  EXPECT_THAT(error_of([&] { open_gguf(first); }), HasSubstr("m-00002-of-00002.gguf: cannot open"));
  write_part(2, 2, 0, 2, 4, "b");
  EXPECT_THAT(error_of([&] { open_gguf(first); }), HasSubstr("split.no is 0; 1 is needed"));
  write_part(2, 2, 1, 3, 4, "b");
  EXPECT_THAT(error_of([&] { open_gguf(first); }), HasSubstr("split.count is 3, that of the first part 2"));
  write_part(2, 2, 1, 2, 4, "a");
  EXPECT_THAT(error_of([&] { open_gguf(first); }), HasSubstr("tensor \"a.w\" is in another part, too"));
  write_part(2, 2, 1, 2, 4, "b");
  write_part(1, 2, 0, 2, 5, "a");
  EXPECT_THAT(error_of([&] { open_gguf(first); }), HasSubstr("split.tensors.count is 5; the parts hold 4"));
  write_part(1, 2, 0, 60000, 5, "a");
  EXPECT_THAT(error_of([&] { open_gguf(first); }), HasSubstr("split.count is 60000; at most 1024"));
  write_part(1, 2, 0, 3, 5, "a");
  EXPECT_THAT(error_of([&] { open_gguf(first); }), HasSubstr("the name must end in -00001-of-00003.gguf"));
}

class HuggingFaceFolder : public ::testing::Test {
 protected:
  static std::string shard(const std::string& name, float value) {
    const std::string header =
        fmt::format(R"({{"{}": {{"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}}})", name);
    return build_safetensors(header, bytes_of(std::vector<float>{value, value + 1, value + 2, value + 3}));
  }
  void write_index(const std::string& weight_map) {
    folder_.write("model.safetensors.index.json", fmt::format(R"({{"metadata": {{}}, "weight_map": {}}})", weight_map));
  }
  std::string error() {
    return error_of([this] { open_hugging_face(folder_.path()); });
  }
  TemporaryFolder folder_;
};

TEST_F(HuggingFaceFolder, EveryFloatTypeWidens) {
  const std::vector<uint16_t> bf16 = {float_to_bf16(1.5f), float_to_bf16(-2.0f), float_to_bf16(0.25f)};
  const std::vector<uint16_t> f16 = {float_to_f16(0.5f), float_to_f16(-65504.0f), float_to_f16(3.0f)};
  folder_.write("model.safetensors", build_safetensors(R"({
      "bf16": {"dtype": "BF16", "shape": [1, 3], "data_offsets": [0, 6]},
      "f16": {"dtype": "F16", "shape": [3, 1], "data_offsets": [6, 12]},
      "ids": {"dtype": "U8", "shape": [2], "data_offsets": [12, 14]}})",
                                                       bytes_of(bf16) + bytes_of(f16) + "ab"));
  const auto weights = open_hugging_face(folder_.path());
  EXPECT_THAT(row_of(*weights->matrix("bf16"), 0), ElementsAre(1.5f, -2.0f, 0.25f));
  EXPECT_THAT(row_of(*weights->matrix("f16", 3, 1), 1), ElementsAre(-65504.0f));
  EXPECT_EQ(weights->matrix("f16")->coding().float_kind, Coding::FloatKind::f16);
  EXPECT_THAT(error_of([&] { weights->vector("ids"); }), HasSubstr("tensor \"ids\" has type U8, which cannot be read"));
}

TEST_F(HuggingFaceFolder, ShardsAreOneFile) {
  folder_.write("one.safetensors", shard("a", 10));
  folder_.write("two.safetensors", shard("b", 20));
  write_index(R"({"a": "one.safetensors", "b": "two.safetensors"})");
  const auto weights = open_hugging_face(folder_.path());
  EXPECT_THAT(row_of(*weights->matrix("b"), 1), ElementsAre(22.0f, 23.0f));
  EXPECT_EQ(weights->tensors().size(), 2u);
}

TEST_F(HuggingFaceFolder, ErrorsNameFileAndTensor) {
  EXPECT_THAT(error(), HasSubstr("has neither model.safetensors nor model.safetensors.index.json"));
  folder_.write("one.safetensors", shard("a", 10));
  write_index("{}");
  EXPECT_THAT(error(), HasSubstr("weight_map is empty"));
  write_index("[]");
  EXPECT_THAT(error(), HasSubstr("index.json: \"weight_map\" is a list; an object is needed"));
  write_index(R"({"a": 3})");
  EXPECT_THAT(error(), HasSubstr("weight_map: \"a\" is an integer; a string is needed"));
  write_index(R"({"a": "../one.safetensors"})");
  EXPECT_THAT(error(), HasSubstr("tensor \"a\" is in \"../one.safetensors\", which is not a file name"));
  write_index(R"({"a": "absent.safetensors"})");
  EXPECT_THAT(error(), HasSubstr("absent.safetensors: cannot open"));
  write_index(R"({"a": "one.safetensors", "b": "one.safetensors"})");
  EXPECT_THAT(error(), HasSubstr("one.safetensors: tensor \"b\", which the index puts here, is missing"));
  folder_.write("two.safetensors", shard("a", 20));
  write_index(R"({"a": "one.safetensors", "b": "two.safetensors"})");
  EXPECT_THAT(error(), HasSubstr("two.safetensors: tensor \"a\" is in another part, too"));
}

}  // namespace
}  // namespace echelon
