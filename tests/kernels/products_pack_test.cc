// Quantisation of activations, and packing: sizes, slices, stacked rows, refusals.
#include <algorithm>

#include "kernels/reduction_tree.h"
#include "tests/kernels/products_testing.h"

namespace echelon::cpu {
namespace {

class Quantize : public testing::TestWithParam<CpuIsa> {
 protected:
  void SetUp() override {
    if (!has_isa(GetParam())) GTEST_SKIP() << "this CPU lacks " << name_of(GetParam());
  }

  void expect_definition(const CpuActivation& activation, const std::vector<float>& x) {
    const int64_t rows = activation.rows(), cols = activation.cols(), groups = (cols + 31) / 32;
    const QuantizedRows want = quantize_by_definition(x, rows, cols);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        const ActivationGroup& group = activation.tile(r / 8)[g];
        const ActivationStarts& starts = activation.starts(r / 8)[g];
        const float scale = want.scales[r * groups + g];
        if (std::isnan(scale)) {  // the codes mean nothing then
          ASSERT_TRUE(std::isnan(group.scale[r % 8]));
          continue;
        }
        int half_sum[2] = {0, 0};
        for (int64_t k = 0; k < 32; ++k) {
          const int code = 32 * g + k < cols ? want.codes[r * cols + 32 * g + k] : 0;
          ASSERT_EQ(group.codes[r % 8][k], code) << "row " << r << ", column " << 32 * g + k;
          half_sum[k / 16] += code;
        }
        const int sum = half_sum[0] + half_sum[1];
        ASSERT_TRUE(same_bits(group.scale[r % 8], scale)) << "row " << r << ", group " << g;
        ASSERT_TRUE(same_bits(group.scaled_sum[r % 8], scale * static_cast<float>(sum)));
        ASSERT_EQ(starts.minus_8[r % 8], -8 * sum);
        ASSERT_EQ(starts.minus_128[r % 8], -128 * sum);
        ASSERT_EQ(starts.half_minus_128[0][r % 8], -128 * half_sum[0]);
        ASSERT_EQ(starts.half_minus_128[1][r % 8], -128 * half_sum[1]);
      }
    }
  }
};

TEST_P(Quantize, DefinitionOnRandomAndExtremeRows) {
  const FloatEnvironment environment;
  for (int64_t cols : {1, 31, 32, 33, 96, 576}) {
    int64_t rows = 0;
    std::vector<float> x = extreme_rows(cols, &rows);
    const std::vector<float> random = seeded_rows(20, cols, 61);
    x.insert(x.end(), random.begin(), random.end());
    CpuActivation activation(rows + 20, cols, ActivationForm::both, product_kernels(GetParam()));
    activation.set_rows(rows + 20);
    for (int64_t r = 0; r < rows + 20; ++r) activation.write_row(r, 0, x.data() + r * cols, cols);
    expect_definition(activation, x);
    for (int64_t r = 0; r < rows + 20; ++r) {
      for (int64_t k = 0; k < cols; ++k) ASSERT_TRUE(same_bits(activation.float_row(r)[k], x[r * cols + k]));
    }
    if (HasFatalFailure()) return;
  }
}

/// Whole tiles, parts of tiles and short last groups, of values that lie apart; one extreme row makes its tile's others
/// no worse.
TEST_P(Quantize, RowsTogetherEqualTheDefinition) {
  const FloatEnvironment environment;
  for (int64_t cols : {32, 33, 320}) {
    int64_t num_extreme = 0;
    const std::vector<float> extreme = extreme_rows(cols, &num_extreme), random = seeded_rows(40, cols, 65);
    std::vector<float> x(random.begin(), random.begin() + 20 * cols);
    x.insert(x.end(), extreme.begin(), extreme.end());
    x.insert(x.end(), random.begin() + 20 * cols, random.end());
    const int64_t rows = 40 + num_extreme, stride = cols + 3;
    std::vector<float> apart(static_cast<size_t>(rows * stride), 1e30f);
    for (int64_t r = 0; r < rows; ++r) std::copy_n(x.begin() + r * cols, cols, apart.begin() + r * stride);
    for (int64_t piece : {int64_t{3}, int64_t{8}, int64_t{19}, rows}) {
      CpuActivation activation(rows, cols, ActivationForm::both, product_kernels(GetParam()));
      activation.set_rows(rows);
      for (int64_t first = 0; first < rows; first += piece) {
        activation.write_rows(first, std::min(piece, rows - first), 0, apart.data() + first * stride, stride, cols);
      }
      expect_definition(activation, x);
      for (int64_t i = 0; i < rows * cols; ++i) {
        ASSERT_TRUE(same_bits(activation.float_row(i / cols)[i % cols], x[static_cast<size_t>(i)]));
      }
      if (HasFatalFailure()) return;
    }
  }
}

/// What a writer collects from here and there, in any order.
TEST_P(Quantize, CollectedPiecesEqualTheDefinition) {
  const FloatEnvironment environment;
  const std::vector<float> x = seeded_rows(11, 161, 66);
  CpuActivation activation(11, 161, ActivationForm::int8, product_kernels(GetParam()));
  activation.set_rows(11);
  {
    ActivationWriter writer(activation);
    for (int64_t first : {128, 0, 64}) {
      for (int64_t r : {4, 0, 10, 1, 2, 9, 3, 5, 6, 8, 7}) {
        writer.write(r, first, x.data() + r * 161 + first, first == 128 ? 33 : 64);
      }
    }
  }
  expect_definition(activation, x);
}

/// The first and the last row of a tile, together and alone.
TEST_P(Quantize, RowsBetweenTheWrittenOnesStay) {
  const FloatEnvironment environment;
  std::vector<float> x = seeded_rows(8, 32, 67);
  const std::vector<float> newer = seeded_rows(2, 32, 68);
  CpuActivation activation(8, 32, ActivationForm::int8, product_kernels(GetParam()));
  activation.set_rows(8);
  activation.write_rows(0, 8, 0, x.data(), 32, 32);
  {
    ActivationWriter writer(activation);
    writer.write(0, 0, newer.data(), 32);
    writer.write(7, 0, newer.data() + 32, 32);
  }
  std::copy_n(newer.begin(), 32, x.begin());
  std::copy_n(newer.begin() + 32, 32, x.begin() + 7 * 32);
  expect_definition(activation, x);
}

TEST_P(Quantize, IsWithinHalfAStep) {
  const FloatEnvironment environment;
  const std::vector<float> x = seeded_rows(16, 320, 62);
  CpuActivation activation(16, 320, ActivationForm::int8, product_kernels(GetParam()));
  activation.set_rows(16);
  for (int64_t r = 0; r < 16; ++r) activation.write_row(r, 0, x.data() + r * 320, 320);
  for (int64_t r = 0; r < 16; ++r) {
    for (int64_t k = 0; k < 320; ++k) {
      const ActivationGroup& group = activation.tile(r / 8)[k / 32];
      const double d = group.scale[r % 8];
      ASSERT_LE(std::abs(d * group.codes[r % 8][k % 32] - x[r * 320 + k]), 0.5001 * d);
    }
  }
}

TEST_P(Quantize, PiecesOfARowInAnyOrderEqualTheRow) {
  const FloatEnvironment environment;
  const std::vector<float> x = seeded_rows(3, 113, 63);
  CpuActivation activation(9, 113, ActivationForm::int8, product_kernels(GetParam()));
  activation.set_rows(9);
  const std::vector<float> other = seeded_rows(1, 113, 64);
  for (int64_t r = 0; r < 9; ++r) activation.write_row(r, 0, other.data(), 113);  // what lay there before
  activation.set_rows(3);
  for (int64_t first : {96, 0, 32}) {
    const int64_t count = first == 96 ? 17 : first == 0 ? 32 : 64;
    for (int64_t r = 2; r >= 0; --r) activation.write_row(r, first, x.data() + r * 113 + first, count);
  }
  expect_definition(activation, x);
}

INSTANTIATE_TEST_SUITE_P(AllIsas, Quantize, testing::ValuesIn(kAllIsas),
                         [](const auto& each) { return name_of(each.param); });

TEST(CpuActivation, RefusesWhatDoesNotFit) {
  const float x[64] = {};
  CpuActivation activation(4, 64, ActivationForm::int8, product_kernels(CpuIsa::portable));
  activation.set_rows(2);
  EXPECT_DEATH(activation.set_rows(5), "check failed");
  EXPECT_DEATH(activation.write_row(2, 0, x, 64), "check failed");
  EXPECT_DEATH(activation.write_row(0, 16, x, 48), "check failed");
  EXPECT_DEATH(activation.write_row(0, 0, x, 33), "check failed");
  EXPECT_DEATH(activation.write_row(0, 32, x, 64), "check failed");
  EXPECT_DEATH(activation.write_rows(1, 2, 0, x, 32, 32), "check failed");
  EXPECT_DEATH(activation.write_rows(-1, 2, 0, x, 32, 32), "check failed");
}

TEST(CpuActivation, SizeIsWhatItKeeps) {
  constexpr size_t kGroup = sizeof(ActivationGroup) + sizeof(ActivationStarts);
  EXPECT_EQ(CpuActivation::size_bytes(8, 64, ActivationForm::int8), 2 * kGroup);
  EXPECT_EQ(CpuActivation::size_bytes(9, 65, ActivationForm::int8), 6 * kGroup);
  EXPECT_EQ(CpuActivation::size_bytes(3, 65, ActivationForm::floats), 3u * 80u * 4u);
  EXPECT_EQ(CpuActivation::size_bytes(3, 65, ActivationForm::both), 3 * kGroup + 3u * 80u * 4u);
}

TEST(Pack, BytesFromTheShapeAreTheBytesKept) {
  ThreadPool threads(1);
  for (const Coding& coding : all_codings()) {
    for (Compute compute : {Compute::int8, Compute::bf16, Compute::f32}) {
      for (int64_t rows : {1, 16, 17, 192}) {
        ChunkedMemory memory;
        const SeededMatrix w(rows, 96, coding, 71);
        const auto packed = pack_matrix(whole(w), compute, memory, threads);
        EXPECT_EQ(packed->size_bytes(), packed_bytes(coding, compute, rows, 96)) << describe(coding);
        EXPECT_EQ(packed->rows(), rows);
        EXPECT_EQ(packed->cols(), 96);
        EXPECT_EQ(packed->num_slots(), 1);
      }
    }
  }
}

/// The sizes that design and memory planner count on: no byte more than the file's.
TEST(Pack, BytesOfTheFileFormats) {
  using enum Coding::Kind;
  const Coding q4_1{.kind = u4, .has_minimum = true, .scales_fit_f16 = true},
      q4_0{.kind = u4, .zero = 8, .scales_fit_f16 = true};
  const Coding q8_0{.kind = u8, .zero = 128, .scales_fit_f16 = true}, bf16{.float_kind = Coding::FloatKind::bf16};
  EXPECT_EQ(packed_bytes(q4_1, Compute::int8, 1536, 576), 1536u * 576 / 32 * 20);
  EXPECT_EQ(packed_bytes(q4_0, Compute::int8, 1536, 576), 1536u * 576 / 32 * 18);
  EXPECT_EQ(packed_bytes(q8_0, Compute::int8, 1536, 576), 1536u * 576 / 32 * 34);
  EXPECT_EQ(packed_bytes(bf16, Compute::int8, 1536, 576), 1536u * 576 * 2);
  EXPECT_EQ(packed_bytes(q4_1, Compute::bf16, 1536, 576), 1536u * 576 * 2);
  EXPECT_EQ(packed_bytes(bf16, Compute::f32, 1536, 576), 1536u * 576 * 2);
}

TEST(Pack, StackedRowsAndThreadsEqualOneMatrix) {
  for (const Coding& coding : all_codings()) {
    const SeededMatrix a(21, 64, coding, 72), b(40, 64, coding, 73);
    const std::vector<float> x = seeded_rows(3, 64, 74);
    const PackPlan both{.rows = {{&a, 3, 18}, {&b, 0, 0}, {&b, 7, 33}}, .first_col = 0, .leaves = {{64, 0, 0}}};
    const std::vector<float> got = run_linear(CpuIsa::portable, 3, both, Compute::int8, x, 3);
    const std::vector<float> from_a = run_linear(CpuIsa::portable, 1, whole(a), Compute::int8, x, 3);
    const std::vector<float> from_b = run_linear(CpuIsa::portable, 1, whole(b), Compute::int8, x, 3);
    for (int64_t r = 0; r < 3; ++r) {
      for (int64_t f = 0; f < 51; ++f) {
        const float want = f < 18 ? from_a[r * 21 + 3 + f] : from_b[r * 40 + 7 + f - 18];
        ASSERT_TRUE(same_bits(got[r * 51 + f], want)) << describe(coding) << " feature " << f;
      }
    }
  }
}

TEST(Pack, APartWithoutHeadsIsEmpty) {
  ThreadPool threads(2);
  ChunkedMemory memory;
  const SeededMatrix w(16, 64, {.kind = Coding::Kind::u4, .zero = 8}, 75);
  const auto no_columns =
      pack_matrix({.rows = {{&w, 0, 16}}, .first_col = 64, .leaves = {}}, Compute::int8, memory, threads);
  EXPECT_EQ(no_columns->size_bytes(), 0u);
  EXPECT_EQ(no_columns->num_slots(), 0);
  const auto no_rows =
      pack_matrix({.rows = {{&w, 16, 0}}, .first_col = 0, .leaves = {{64, 0, 0}}}, Compute::int8, memory, threads);
  EXPECT_EQ(no_rows->size_bytes(), 0u);
  CpuActivation x(2, 64, ActivationForm::int8, product_kernels(CpuIsa::portable));
  x.set_rows(2);
  linear(product_kernels(CpuIsa::portable), threads, x, 2, *no_rows, nullptr, {nullptr, 2, 0, 0}, 0);
}

TEST(Pack, RefusesBrokenPlans) {
  ThreadPool threads(1);
  ChunkedMemory memory;
  const SeededMatrix w(16, 64, {.kind = Coding::Kind::u4, .zero = 8}, 76),
      other(16, 64, {.kind = Coding::Kind::u4}, 77);
  const auto pack = [&](const PackPlan& plan) { pack_matrix(plan, Compute::int8, memory, threads); };
  EXPECT_DEATH(pack({.rows = {{&w, 0, 17}}, .first_col = 0, .leaves = {{64, 0, 0}}}), "check failed");
  EXPECT_DEATH(pack({.rows = {{&w, 0, 16}}, .first_col = 32, .leaves = {{64, 0, 0}}}), "check failed");
  EXPECT_DEATH(pack({.rows = {{&w, 0, 16}, {&other, 0, 16}}, .first_col = 0, .leaves = {{64, 0, 0}}}), "check failed");
  EXPECT_DEATH(pack({.rows = {{&w, 0, 16}}, .first_col = 0, .leaves = {{48, 0, -1}, {16, 1, 0}}}), "cuts a group");
  EXPECT_DEATH(pack({.rows = {{&w, 0, 16}}, .first_col = 0, .leaves = {{32, 0, -1}, {32, 0, 0}}}), "depth");
  EXPECT_DEATH(pack({.rows = {{&w, 0, 16}}, .first_col = 0, .leaves = {{64, 1, 0}}}), "merges");
  EXPECT_DEATH(pack({.rows = {{&w, 0, 16}}, .first_col = 0, .leaves = {{64, 0, -1}}}), "without a slot");
  EXPECT_DEATH(pack({.rows = {{&w, 0, 16}}, .first_col = 16, .leaves = {{32, 0, 0}}}), "cuts a group");
}

TEST(ChunkedMemory, PiecesAreAlignedZeroedAndApart) {
  std::vector<std::shared_ptr<uint8_t[]>> pieces;
  const size_t sizes[] = {1, 64, 65, size_t{3} << 20, ChunkedMemory::kChunkBytes + 1, 100};
  {
    ChunkedMemory memory;
    for (size_t size : sizes) {
      pieces.push_back(memory.allocate(size));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(pieces.back().get()) % 64, 0u);
      EXPECT_TRUE(std::all_of(pieces.back().get(), pieces.back().get() + size, [](uint8_t byte) { return byte == 0; }));
      std::fill_n(pieces.back().get(), size, static_cast<uint8_t>(pieces.size()));
    }
  }
  for (size_t i = 0; i < pieces.size(); ++i) {  // the pieces outlive what cut them
    EXPECT_TRUE(std::all_of(pieces[i].get(), pieces[i].get() + sizes[i], [i](uint8_t byte) { return byte == i + 1; }));
  }
}

}  // namespace
}  // namespace echelon::cpu
