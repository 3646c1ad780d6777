// Norms, gates, sums, softcap and embedding against double precision, and the same bits whatever the instruction set,
// the threads and the rows beside.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "kernels/base/limits.h"
#include "kernels/cpu/float_environment.h"
#include "kernels/reduction_tree.h"
#include "tests/kernels/op_test_support.h"
#include "tests/kernels/products_testing.h"

namespace echelon::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class RowOpsTest : public IsaTest {};
INSTANTIATE_TEST_SUITE_P(Isa, RowOpsTest, testing::ValuesIn(kAllIsas), isa_name);

/// Largest relative error of a kernel of one row over x, where the exact value is a normal number.
template <class Kernel, class Exact>
double worst_error(const std::vector<float>& x, Kernel kernel, Exact exact) {
  std::vector<float> out(x.size());
  {
    const FloatEnvironment environment;
    kernel(x, out);
  }
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = exact(static_cast<double>(x[i]));
    if (std::fabs(expected) < 1.2e-38 || std::fabs(expected) > 3.4e38) continue;
    worst = std::max(worst, std::fabs((out[i] - expected) / expected));
  }
  return worst;
}

std::vector<float> sweep(float low, float high, int count) {
  std::vector<float> x(count);
  for (int i = 0; i < count; ++i) x[i] = low + (high - low) * static_cast<float>(i) / static_cast<float>(count - 1);
  return x;
}

std::vector<float> symmetric_magnitudes() {
  std::vector<float> x;
  for (double magnitude = 1e-30; magnitude < 80; magnitude *= 1.0003) {
    x.push_back(static_cast<float>(magnitude));
    x.push_back(static_cast<float>(-magnitude));
  }
  return x;
}

TEST_P(RowOpsTest, ExpIsExactToTwoUlpsAndSaturates) {
  const auto kernel = [&](const std::vector<float>& x, std::vector<float>& out) {
    kernels().exp(x.data(), static_cast<int64_t>(x.size()), out.data());
  };
  EXPECT_LT(worst_error(sweep(-87.0f, 88.7f, 400001), kernel, [](double x) { return std::exp(x); }), 1.1e-7);
  EXPECT_LT(worst_error(sweep(-0.4f, 0.4f, 100001), kernel, [](double x) { return std::exp(x); }), 1.1e-7);
  std::vector<float> x = {0.0f, -0.0f, 89.0f, 1e30f, kInfinity, -87.4f, -200.0f, -kInfinity, 88.72f, std::nanf("")},
                     out(x.size());
  {
    const FloatEnvironment environment;
    kernel(x, out);
  }
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], 1.0f);
  for (int i : {2, 3, 4}) EXPECT_EQ(out[i], kInfinity) << x[i];
  for (int i : {5, 6, 7}) EXPECT_EQ(out[i], 0.0f) << x[i];
  EXPECT_NEAR(out[8] / std::exp(88.72), 1.0, 1e-5);
  EXPECT_TRUE(std::isnan(out[9]));
}

TEST_P(RowOpsTest, ExpHasTheSameBitsOnEveryInstructionSet) {
  for (const auto& [low, high] : {std::pair(-110.0f, 95.0f), std::pair(-88.0f, -86.5f), std::pair(88.3f, 88.9f)}) {
    const std::vector<float> x = sweep(low, high, 50000);
    std::vector<float> out(x.size()), expected(x.size());
    const FloatEnvironment environment;
    kernels().exp(x.data(), static_cast<int64_t>(x.size()), out.data());
    op_kernels(CpuIsa::portable).exp(x.data(), static_cast<int64_t>(x.size()), expected.data());
    EXPECT_EQ(num_different(out, expected), 0) << low;
  }
}

TEST_P(RowOpsTest, SoftcapIsExactToAFewUlps) {
  const auto kernel = [&](float cap) {
    return [this, cap](const std::vector<float>& x, std::vector<float>& out) {
      out = x;
      kernels().softcap(out.data(), static_cast<int64_t>(out.size()), cap);
    };
  };
  EXPECT_LT(worst_error(symmetric_magnitudes(), kernel(1.0f), [](double x) { return std::tanh(x); }), 3e-7);
  EXPECT_LT(worst_error(symmetric_magnitudes(), kernel(30.0f), [](double x) { return 30 * std::tanh(x / 30); }), 4e-7);
  std::vector<float> x = {kInfinity, -kInfinity, 1e30f, 0.0f, std::nanf("")}, out;
  kernel(50.0f)(x, out);
  EXPECT_EQ(out[0], 50.0f);
  EXPECT_EQ(out[1], -50.0f);
  EXPECT_EQ(out[2], 50.0f);
  EXPECT_EQ(out[3], 0.0f);
  EXPECT_TRUE(std::isnan(out[4]));
}

TEST_P(RowOpsTest, GatesAreExactToAFewUlps) {
  const auto gate = [&](auto kernel) {
    return [kernel](const std::vector<float>& x, std::vector<float>& out) {
      const std::vector<float> up(x.size(), 1.0f);
      kernel(x.data(), up.data(), 16, static_cast<int64_t>(x.size()), out.data());
    };
  };
  const auto silu = [](double x) { return x / (1 + std::exp(-x)); };
  const auto gelu = [](double x) { return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); };
  EXPECT_LT(worst_error(symmetric_magnitudes(), gate(kernels().gate_silu), silu), 4e-7);
  // far out on the left the argument of exp, about 80, is known to 80 * 2^-24 only
  EXPECT_LT(worst_error(sweep(-3.0f, 80.0f, 100001), gate(kernels().gate_gelu), gelu), 2e-6);
  EXPECT_LT(worst_error(sweep(-9.0f, -3.0f, 100001), gate(kernels().gate_gelu), gelu), 2e-5);
  const std::vector<float> x = {0.0f, 1e20f, -1e20f, 3e38f, -3e38f};
  std::vector<float> out(x.size());
  for (auto kernel : {kernels().gate_silu, kernels().gate_gelu}) {
    gate(kernel)(x, out);
    EXPECT_EQ(out[0], 0.0f);
    EXPECT_EQ(out[1], 1e20f);
    EXPECT_EQ(out[2], 0.0f);
    EXPECT_EQ(out[3], 3e38f);
    EXPECT_EQ(out[4], 0.0f);
  }
}

TEST_P(RowOpsTest, RmsNormMatchesDoublePrecision) {
  for (int64_t cols : {1, 15, 16, 33, 576, 1536}) {
    for (float deviation : {1.0f, 1e-12f, 1e12f}) {
      TestMatrix x(5, cols, 3);
      fill_normal(x.values, 11 + cols, deviation);
      std::fill_n(x.row(3), cols, 0.0f);
      std::vector<float> weight(cols);
      fill_normal(weight, 5);
      const auto device = backend();
      const auto out = device->make_activation(5, cols);
      device->rms_norm(x, weight.data(), 1e-6f, *out);
      const std::vector<float> values = rows_of(*out);
      for (int64_t r = 0; r < 5; ++r) {
        double squares = 0;
        for (int64_t c = 0; c < cols; ++c) squares += static_cast<double>(x.row(r)[c]) * x.row(r)[c];
        const double inverse = 1 / std::sqrt(squares / static_cast<double>(cols) + 1e-6f);
        for (int64_t c = 0; c < cols; ++c) {
          const double expected = x.row(r)[c] * inverse * weight[c];
          ASSERT_NEAR(values[r * cols + c], expected, 1e-6 * std::fabs(expected) + 1e-30)
              << cols << " " << r << " " << c;
        }
      }
    }
  }
}

TEST_P(RowOpsTest, RmsNormGivesTheFloatsOfItsActivationsAlsoInPlace) {
  for (int64_t cols : {1, 33, 576}) {
    TestMatrix x(7, cols), out(7, cols);
    fill_normal(x.values, 12 + cols);
    std::vector<float> weight(cols);
    fill_normal(weight, 6);
    const auto device = backend(2);
    const auto normed = device->make_activation(7, cols);
    device->rms_norm(x, weight.data(), 1e-6f, *normed);
    device->rms_norm(x, weight.data(), 1e-6f, out);
    device->rms_norm(x, weight.data(), 1e-6f, x);
    EXPECT_EQ(num_different(out.values, rows_of(*normed)), 0) << cols;
    EXPECT_EQ(num_different(x.values, out.values), 0) << cols;
  }
}

/// The end of a tree of real partial sums, for every number of parts.
TEST_P(RowOpsTest, FinishSumGivesTheSameBitsForEveryNumberOfParts) {
  constexpr int64_t kRows = 3, kCols = 83, kStride = 90, kGrains = 32;
  std::vector<std::vector<float>> leaves(kGrains, std::vector<float>(kRows * kStride));
  for (int64_t i = 0; i < kGrains; ++i) fill_normal(leaves[i], 100 + i, i == 7 ? 1e6f : 1.0f);
  std::vector<float> norm(kCols);
  fill_normal(norm, 9);
  const auto device = backend(2);
  std::vector<float> first, first_normed, first_reduced;
  for (int num_parts = 1; num_parts <= kNumLeaves; ++num_parts) {
    const ReductionTree tree(kGrains, num_parts);
    std::vector<std::vector<float>> slots(tree.total_slots(), std::vector<float>(kRows * kStride));
    for (int part = 0; part < num_parts; ++part) {
      for (size_t e = 0; e < slots[0].size(); ++e) {  // what a product emits
        std::vector<float> stack;
        for (const ReductionTree::Leaf& leaf : tree.leaves(part)) {
          float sum = 0;
          for (int64_t g = 0; g < leaf.num_grains; ++g) sum += leaves[leaf.first_grain + g][e];
          stack.push_back(sum);
          for (int m = 0; m < leaf.merges; ++m) {
            stack[stack.size() - 2] += stack.back();
            stack.pop_back();
          }
          if (leaf.slot < 0) continue;
          slots[tree.first_slot(part) + leaf.slot][e] = stack.back();
          stack.pop_back();
        }
      }
    }
    std::vector<const float*> pointers;
    for (const auto& slot : slots) pointers.push_back(slot.data());
    TestMatrix hidden(kRows, kCols, 5), normed(kRows, kCols, 5), reduced(kRows, kCols, 5);
    fill_normal(hidden.values, 3);
    normed.values = hidden.values;
    const TestMatrix before = hidden;
    device->finish_sum(pointers, kStride, tree.finish_merges(), nullptr, 0, hidden, {});
    device->finish_sum(pointers, kStride, tree.finish_merges(), norm.data(), 1e-6f, normed, {});
    device->reduce_slots(pointers, kStride, tree.finish_merges(), reduced);
    if (num_parts == 1) {
      first = hidden.values;
      first_normed = normed.values;
      first_reduced = reduced.values;
      for (int64_t r = 0; r < kRows; ++r) {
        double squares = 0;
        std::vector<double> sum(kCols);
        for (int64_t c = 0; c < kCols; ++c) {
          for (const auto& leaf : leaves) sum[c] += leaf[r * kStride + c];
          squares += sum[c] * sum[c];
          ASSERT_NEAR(reduced.row(r)[c], sum[c], 2.0);  // one leaf is 1e6 times larger: float32 keeps 0.1 of it
          ASSERT_EQ(hidden.row(r)[c], before.values[r * before.stride + c] + reduced.row(r)[c]);
        }
        for (int64_t c = 0; c < kCols; ++c) {
          const double expected = before.values[r * before.stride + c] + sum[c] / std::sqrt(squares / kCols) * norm[c];
          ASSERT_NEAR(normed.row(r)[c], expected, 1e-5 * (1 + std::fabs(expected)));
        }
      }
    }
    ASSERT_EQ(num_different(hidden.values, first), 0) << num_parts << " parts";
    ASSERT_EQ(num_different(normed.values, first_normed), 0) << num_parts << " parts";
    ASSERT_EQ(num_different(reduced.values, first_reduced), 0) << num_parts << " parts";
  }
}

/// Few rows and whole tiles, with and without a norm of the sum: what one more product sees of next has rms_norm()'s
/// bits.
TEST_P(RowOpsTest, TheNextNormOfASumHasTheBitsOfRmsNorm) {
  constexpr int64_t kCols = 96;
  std::vector<float> norm(kCols), next_norm(kCols);
  fill_normal(norm, 21);
  fill_normal(next_norm, 22);
  const auto device = backend(2);
  const SeededMatrix w(kCols, kCols, {.kind = Coding::Kind::u8, .zero = 128, .scales_fit_f16 = true}, 23);
  const auto weight = device->pack({.rows = {{&w, 0, kCols}}, .leaves = {{.num_cols = kCols, .merges = 0, .slot = 0}}});
  const int merges[] = {0};
  for (const int64_t rows : {1, 7, 16, 45}) {
    for (const float* sandwich : {static_cast<const float*>(nullptr), static_cast<const float*>(norm.data())}) {
      TestMatrix sum(rows, kCols), before(rows, kCols), out(rows, kCols), expected(rows, kCols);
      fill_normal(sum.values, 24);
      fill_normal(before.values, 25);
      TestMatrix hidden = before, alone = before;
      const float* slots[] = {sum.values.data()};
      const auto next = device->make_activation(rows, kCols), normed = device->make_activation(rows, kCols);
      device->finish_sum(slots, kCols, merges, sandwich, 1e-6f, hidden,
                         {.weight = next_norm.data(), .out = next.get()});
      device->finish_sum(slots, kCols, merges, sandwich, 1e-6f, alone, {});
      device->rms_norm(alone, next_norm.data(), 1e-6f, *normed);
      device->linear(*next, rows, *weight, nullptr, out, 0);
      device->linear(*normed, rows, *weight, nullptr, expected, 0);
      ASSERT_EQ(num_different(hidden.values, alone.values), 0) << rows << " rows";
      ASSERT_EQ(num_different(out.values, expected.values), 0) << rows << " rows";
    }
  }
}

TEST_P(RowOpsTest, AProgramThatLeavesTwoValuesIsRefused) {
  const auto device = backend();
  TestMatrix hidden(1, 16);
  const float* slots[] = {hidden.values.data(), hidden.values.data()};
  const int merges[] = {0, 0};
  EXPECT_DEATH(device->finish_sum(slots, 16, merges, nullptr, 0, hidden, {}), "check failed");
}

class FloatSource final : public MatrixSource {
 public:
  FloatSource(int64_t rows, int64_t cols) : rows_(rows), cols_(cols), values_(rows * cols) { fill_normal(values_, 21); }
  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  Coding coding() const override { return {}; }
  void read_floats(int64_t row, int64_t first_col, std::span<float> out) const override {
    std::copy_n(values_.begin() + row * cols_ + first_col, out.size(), out.begin());
  }
  void read_quantized(int64_t, int64_t, QuantizedRow) const override { FAIL() << "a float matrix has no codes"; }
  float at(int64_t row, int64_t col) const { return values_[row * cols_ + col]; }

 private:
  int64_t rows_, cols_;
  std::vector<float> values_;
};

TEST_P(RowOpsTest, EmbedReadsRowsAndScalesThem) {
  const auto source = std::make_shared<FloatSource>(10, 37);
  const auto device = backend(2);
  const auto table = device->make_embedding(source);
  const std::vector<TokenId> tokens = {9, 0, 3, 3};
  for (float scale : {1.0f, 6.25f, 25.3f}) {
    TestMatrix out(4, 37, 3);
    device->embed(*table, tokens, scale, out);
    for (int r = 0; r < 4; ++r) {
      for (int c = 0; c < 37; ++c) ASSERT_EQ(out.row(r)[c], source->at(tokens[r], c) * scale);
    }
  }
  TestMatrix out(1, 37);
  EXPECT_DEATH(device->embed(*table, std::vector<TokenId>{10}, 1, out), "token 10");
}

/// All operations of rows on one input; threads and instruction sets must not show.
std::vector<float> everything(Backend& device, int64_t rows, int64_t cols) {
  TestMatrix x(rows, 2 * cols, 7);
  fill_normal(x.values, 31, 3.0f);
  x.values[5] = 1e30f;
  x.values[6] = -1e30f;
  x.values[7] = 1e-38f;
  std::vector<float> weight(2 * cols), result;
  fill_normal(weight, 32);
  const auto append = [&](const std::vector<float>& values) {
    result.insert(result.end(), values.begin(), values.end());
  };
  const auto normed = device.make_activation(rows, 2 * cols), gated = device.make_activation(rows, cols);
  device.rms_norm(x, weight.data(), 1e-5f, *normed);
  append(rows_of(*normed));
  for (Gate gate : {Gate::silu, Gate::gelu_tanh}) {
    device.gated_activation(x, gate, *gated);
    append(rows_of(*gated));
  }
  device.softcap(x, 30.0f);
  append(x.values);
  return result;
}

TEST_P(RowOpsTest, BitsDoNotDependOnInstructionSetOrThreads) {
  const auto reference = make_cpu_backend({.compute = Compute::f32, .num_threads = 1, .isa = CpuIsa::portable});
  for (int64_t cols : {1, 40, 3000}) {
    const std::vector<float> expected = everything(*reference, 13, cols);
    for (int num_threads : {1, 2, 3}) {
      EXPECT_EQ(num_different(everything(*backend(num_threads), 13, cols), expected), 0) << cols << " " << num_threads;
    }
  }
}

TEST_P(RowOpsTest, ARowHasTheSameBitsAlone) {
  constexpr int64_t kRows = 17, kCols = 100;
  TestMatrix x(kRows, 2 * kCols);
  fill_normal(x.values, 41);
  std::vector<float> weight(2 * kCols, 0.5f);
  const auto device = backend(2);
  const auto normed = device->make_activation(kRows, 2 * kCols), gated = device->make_activation(kRows, kCols);
  device->rms_norm(x, weight.data(), 1e-5f, *normed);
  device->gated_activation(x, Gate::silu, *gated);
  const std::vector<float> all_normed = rows_of(*normed), all_gated = rows_of(*gated);
  for (int64_t r = 0; r < kRows; ++r) {
    const Matrix row{.data = x.row(r), .rows = 1, .cols = 2 * kCols, .stride = 2 * kCols};
    device->rms_norm(row, weight.data(), 1e-5f, *normed);
    device->gated_activation(row, Gate::silu, *gated);
    const auto part = [r](const std::vector<float>& all, int64_t cols) {
      return std::vector<float>(all.begin() + r * cols, all.begin() + (r + 1) * cols);
    };
    EXPECT_EQ(num_different(rows_of(*normed), part(all_normed, 2 * kCols)), 0);
    EXPECT_EQ(num_different(rows_of(*gated), part(all_gated, kCols)), 0);
  }
}

}  // namespace
}  // namespace echelon::cpu
