// Every GGUF type gives the float32 bits of PyPI `gguf` (tests/golden/make_weights.py), by whole rows, by pieces, and
// through the neutral quantised form.
#include "engine/weights/dequantize.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>

#include "engine/weights/weight_file.h"
#include "kernels/base/half.h"
#include "tests/engine/weights/file_builder.h"

namespace echelon {
namespace {

using testing::read_all;

const std::string kFolder = ECHELON_SOURCE_DIR "/tests/golden/weights/";

std::vector<float> golden_floats() {
  const std::string bytes = read_all(kFolder + "every_type.f32");
  std::vector<float> out(bytes.size() / sizeof(float));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

/// The first index at which the bits differ, or -1.
int64_t first_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i])) return static_cast<int64_t>(i);
  }
  return -1;
}

class EveryType : public ::testing::Test {
 protected:
  struct Case {
    std::string name;
    std::shared_ptr<const MatrixSource> matrix;
    std::span<const float> expected;
  };

  void SetUp() override {
    weights_ = open_gguf(kFolder + "every_type.gguf");
    floats_ = golden_floats();
    size_t first = 0;
    for (const auto& tensor : weights_->tensors()) {
      size_t size = 1;
      for (const int64_t dimension : tensor.info.shape) size *= static_cast<size_t>(dimension);
      ASSERT_LE(first + size, floats_.size());
      const auto expected = std::span(floats_).subspan(first, size);
      first += size;
      if (tensor.info.shape.size() == 2) {
        cases_.push_back({tensor.info.name, weights_->matrix(tensor.info.name), expected});
      } else {
        vector_expected_ = expected;
      }
    }
    EXPECT_EQ(first, floats_.size());
    ASSERT_EQ(cases_.size(), static_cast<size_t>(kNumTensorTypes));
  }

  std::shared_ptr<const WeightFile> weights_;
  std::vector<float> floats_;
  std::vector<Case> cases_;
  std::span<const float> vector_expected_;
};

TEST_F(EveryType, RowsEqualPythonBitForBit) {
  for (const Case& c : cases_) {
    const auto cols = static_cast<size_t>(c.matrix->cols());
    std::vector<float> row(cols);
    for (int64_t r = 0; r < c.matrix->rows(); ++r) {
      c.matrix->read_floats(r, 0, row);
      EXPECT_EQ(first_difference(row, c.expected.subspan(static_cast<size_t>(r) * cols, cols)), -1)
          << c.name << " row " << r;
    }
  }
  EXPECT_EQ(first_difference(weights_->vector("norm", 96), vector_expected_), -1);
}

TEST_F(EveryType, AnyRangeEqualsThatPartOfTheRow) {
  std::mt19937 random(7);
  for (const Case& c : cases_) {
    const bool quantised = c.matrix->coding().kind != Coding::Kind::floats;
    const int64_t step = quantised ? 32 : 1;
    const int64_t num_steps = c.matrix->cols() / step;
    for (int repeat = 0; repeat < 50; ++repeat) {
      const int64_t begin = std::uniform_int_distribution<int64_t>(0, num_steps)(random) * step;
      const int64_t end = std::uniform_int_distribution<int64_t>(begin / step, num_steps)(random) * step;
      const int64_t row = repeat % c.matrix->rows();
      std::vector<float> part(static_cast<size_t>(end - begin));
      c.matrix->read_floats(row, begin, part);
      const auto expected = c.expected.subspan(static_cast<size_t>(row * c.matrix->cols() + begin), part.size());
      EXPECT_EQ(first_difference(part, expected), -1) << c.name << " columns " << begin << " to " << end;
    }
  }
}

/// scale * (code - zero) + minimum in float32 is the value; codes and scales keep what the coding promises.
TEST_F(EveryType, NeutralFormGivesTheSameBits) {
  int num_quantised = 0;
  for (const Case& c : cases_) {
    const Coding coding = c.matrix->coding();
    if (coding.kind == Coding::Kind::floats) continue;
    ++num_quantised;
    for (int64_t row = 0; row < c.matrix->rows(); ++row) {
      const int64_t begin = (row % 4) * 32;
      const auto size = static_cast<size_t>(c.matrix->cols() - begin);
      const auto group = static_cast<size_t>(coding.group);
      std::vector<uint8_t> codes(size);
      std::vector<float> scales(size / group);
      std::vector<float> minimums(coding.has_minimum ? size / group : 0);
      c.matrix->read_quantized(row, begin, {.codes = codes, .scales = scales, .minimums = minimums});
      std::vector<float> values(size);
      for (size_t i = 0; i < size; ++i) {
        if (coding.kind == Coding::Kind::u4) {
          ASSERT_LT(codes[i], 16) << c.name;
        }
        const float product = scales[i / group] * static_cast<float>(codes[i] - coding.zero);
        values[i] = coding.has_minimum ? product + minimums[i / group] : product;
      }
      const auto expected = c.expected.subspan(static_cast<size_t>(row * c.matrix->cols() + begin), size);
      EXPECT_EQ(first_difference(values, expected), -1) << c.name << " row " << row;
      if (coding.scales_fit_f16) {
        for (const float scale : scales) EXPECT_EQ(f16_to_float(float_to_f16(scale)), scale) << c.name;
        for (const float minimum : minimums) EXPECT_EQ(f16_to_float(float_to_f16(minimum)), minimum) << c.name;
      }
    }
  }
  EXPECT_EQ(num_quantised, 8);
}

TEST(Dequantize, EveryFloat16AndBfloat16) {
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  std::vector<float> out(bits.size());
  dequantize(TensorType::f16, std::as_bytes(std::span(bits)), 0, out);
  for (size_t i = 0; i < bits.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(f16_to_float(bits[i]))) << i;
  }
  dequantize(TensorType::bf16, std::as_bytes(std::span(bits)), 0, out);
  for (size_t i = 0; i < bits.size(); ++i) ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), uint32_t{bits[i]} << 16) << i;
}

TEST(TensorRowBytes, RefusesWhatIsNotWholeBlocks) {
  EXPECT_EQ(tensor_row_bytes(TensorType::q4_1, 64), 40u);
  EXPECT_EQ(tensor_row_bytes(TensorType::q6_k, 512), 420u);
  EXPECT_EQ(tensor_row_bytes(TensorType::bf16, 3), 6u);
  EXPECT_FALSE(tensor_row_bytes(TensorType::q4_1, 33));
  EXPECT_FALSE(tensor_row_bytes(TensorType::q4_k, 32));
  EXPECT_FALSE(tensor_row_bytes(TensorType::f32, 0));
  EXPECT_FALSE(tensor_row_bytes(TensorType::f32, INT64_MAX));
}

TEST(DequantizeDeathTest, ARangeOutsideTheRowEndsTheProcess) {
  const std::vector<std::byte> row(40);
  std::vector<float> out(64);
  EXPECT_DEATH(dequantize(TensorType::q4_1, row, 32, out), "columns 32 \\+ 64 of a row of 64");
  EXPECT_DEATH(dequantize(TensorType::q4_1, row, 16, std::span(out).first(32)), "quantised row");
}

}  // namespace
}  // namespace echelon
