// Every coding, compute type and instruction set gives exactly the bits of the frozen scalar definition, and the
// definition is close to a product in double precision.
#include "tests/kernels/products_testing.h"

namespace echelon::cpu {
namespace {

class ProductsDefinition : public testing::TestWithParam<CpuIsa> {
 protected:
  void SetUp() override {
    if (!has_isa(GetParam())) GTEST_SKIP() << "this CPU lacks " << name_of(GetParam());
  }
};

struct Expected {
  std::vector<float> bits;    ///< by the definition
  std::vector<double> exact;  ///< the same products in double
  std::vector<double> bound;  ///< of |bits - exact|
};

Expected expect_product(const SeededMatrix& w, Compute compute, const std::vector<float>& x, int64_t rows) {
  const FloatEnvironment environment;
  const bool quantized = weight_layout(w.coding(), compute) < WeightLayout::bf16;
  const int64_t cols = w.cols(), groups = (cols + 31) / 32;
  const QuantizedRows q = quantize_by_definition(x, rows, cols);
  Expected expected;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t f = 0; f < w.rows(); ++f) {
      const std::vector<float> held = quantized ? std::vector<float>() : held_floats(w, compute, f, 0, cols);
      double exact = 0, magnitude = 0;
      for (int64_t k = 0; k < cols; ++k) {
        const double a =
            quantized ? double{q.scales[r * groups + k / 32]} * q.codes[r * cols + k] : double{x[r * cols + k]};
        const double code = quantized ? w.code(f, k) : 0, minimum = quantized ? w.minimum(f, k) : 0;
        const double scaled = quantized ? w.scale(f, k) * code : double{held[k]};
        exact += a * (scaled + minimum);
        magnitude += std::abs(a * scaled) + std::abs(a * minimum);
      }
      expected.bits.push_back(quantized ? integer_leaf(w, f, 0, cols, &q.codes[r * cols], &q.scales[r * groups])
                                        : float_leaf(held, &x[r * cols]));
      expected.exact.push_back(exact);
      // Every step rounds a partial sum of at most `magnitude` once; three steps a group, or one a column.
      const double steps = quantized ? 6.0 * static_cast<double>(groups) : static_cast<double>(cols) + 1;
      expected.bound.push_back(steps * 0x1p-24 * magnitude + 1e-37 * static_cast<double>(cols));
    }
  }
  return expected;
}

void check(CpuIsa isa, const SeededMatrix& w, Compute compute, const std::vector<float>& x, int64_t rows, bool finite) {
  const std::string what = describe(w.coding()) + ", compute " + std::to_string(static_cast<int>(compute)) + ", " +
                           std::to_string(rows) + " x " + std::to_string(w.rows()) + " x " + std::to_string(w.cols());
  const Expected expected = expect_product(w, compute, x, rows);
  const std::vector<float> got = run_linear(isa, 1, whole(w), compute, x, rows);
  expect_same_bits(got, expected.bits, what);
  for (size_t i = 0; i < got.size() && finite; ++i) {
    ASSERT_LE(std::abs(got[i] - expected.exact[i]), expected.bound[i]) << what << ": element " << i;
  }
}

TEST_P(ProductsDefinition, EveryCodingAndComputeOnOddShapes) {
  for (const Coding& coding : all_codings()) {
    for (Compute compute : {Compute::int8, Compute::bf16, Compute::f32}) {
      for (auto [features, cols, rows] :
           {std::array<int64_t, 3>{1, 32, 1}, {15, 96, 3}, {16, 64, 8}, {17, 576, 5}, {48, 320, 11}}) {
        const SeededMatrix w(features, cols, coding, 7 * static_cast<uint64_t>(cols));
        check(GetParam(), w, compute, seeded_rows(rows, cols, 3), rows, true);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(ProductsDefinition, FloatsOfAnyNumberOfColumns) {
  for (const Coding& coding : all_codings()) {
    if (coding.kind != Coding::Kind::floats) continue;
    for (int64_t cols : {1, 2, 33, 63, 577}) {
      const SeededMatrix w(19, cols, coding, 5);
      check(GetParam(), w, Compute::int8, seeded_rows(9, cols, 4), 9, true);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(ProductsDefinition, ExtremeInputs) {
  for (const Coding& coding : all_codings()) {
    for (Compute compute : {Compute::int8, Compute::bf16, Compute::f32}) {
      int64_t rows = 0;
      const std::vector<float> x = extreme_rows(96, &rows);
      check(GetParam(), SeededMatrix(17, 96, coding, 11), compute, x, rows, false);
      if (HasFatalFailure()) return;
    }
  }
}

/// Codes and activations at the ends of their ranges, and beside the middle: where an intermediate integer would
/// overflow, or a sign be lost.
TEST_P(ProductsDefinition, LargestIntegerSums) {
  /// Codes `even` and `odd` in turn along rows and columns; scales 1, no minimum.
  class Checkered final : public MatrixSource {
   public:
    Checkered(Coding coding, int even, int odd) : coding_(coding), codes_{even, odd} {}
    int64_t rows() const override { return 16; }
    int64_t cols() const override { return 64; }
    Coding coding() const override { return coding_; }
    void read_floats(int64_t, int64_t, std::span<float>) const override { FAIL(); }
    void read_quantized(int64_t row, int64_t first_col, QuantizedRow out) const override {
      for (size_t i = 0; i < out.codes.size(); ++i) {
        out.codes[i] = static_cast<uint8_t>(code(row, first_col + static_cast<int64_t>(i)));
      }
      for (float& scale : out.scales) scale = 1.0f;
      for (float& minimum : out.minimums) minimum = 0.0f;
    }
    int code(int64_t row, int64_t col) const { return codes_[(row + col) % 2]; }

   private:
    Coding coding_;
    int codes_[2];
  };
  constexpr int64_t kRows = 9;
  for (const Coding& coding : all_codings()) {
    if (coding.kind == Coding::Kind::floats) continue;
    const int top = coding.kind == Coding::Kind::u4 ? 15 : 255;
    for (const auto& [even, odd] :
         {std::pair{0, 0}, {top, top}, {0, top}, {top / 2, top / 2 + 1}, {0, top / 2 + 1}, {top / 2, top}}) {
      const Checkered w(coding, even, odd);
      for (const auto& [even_col, odd_col] : {std::pair{127, 127}, {-127, -127}, {127, -127}}) {
        std::vector<float> x;  // scale 1, every code +-127
        for (int64_t k = 0; k < kRows * 64; ++k) x.push_back(static_cast<float>(k % 2 ? odd_col : even_col));
        const PackPlan plan{
            .rows = {{&w, 0, 16}}, .first_col = 0, .leaves = {{.num_cols = 64, .merges = 0, .slot = 0}}};
        const std::vector<float> got = run_linear(GetParam(), 1, plan, Compute::int8, x, kRows);
        for (size_t i = 0; i < got.size(); ++i) {
          const int64_t feature = static_cast<int64_t>(i) % 16;
          const int want =
              32 * (even_col * (w.code(feature, 0) - coding.zero) + odd_col * (w.code(feature, 1) - coding.zero));
          ASSERT_EQ(got[i], static_cast<float>(want)) << describe(coding) << ": element " << i;
        }
      }
    }
  }
}

TEST_P(ProductsDefinition, BiasIsAddedLast) {
  const SeededMatrix w(21, 64, {.kind = Coding::Kind::u4, .has_minimum = true, .scales_fit_f16 = true}, 9);
  const std::vector<float> x = seeded_rows(5, 64, 2), bias = seeded_rows(1, 21, 6);
  std::vector<float> want = run_linear(GetParam(), 1, whole(w), Compute::int8, x, 5);
  for (size_t i = 0; i < want.size(); ++i) want[i] += bias[i % 21];
  expect_same_bits(run_linear(GetParam(), 1, whole(w), Compute::int8, x, 5, bias.data()), want, "bias");
}

INSTANTIATE_TEST_SUITE_P(AllIsas, ProductsDefinition, testing::ValuesIn(kAllIsas),
                         [](const auto& each) { return name_of(each.param); });

}  // namespace
}  // namespace echelon::cpu
