// What a product must not depend on: the rows around a row, the number of threads, the number of parts of a reduction
// tree. Instruction sets are compared with one definition, and so with each other, in products_definition_test.cc.
#include <algorithm>

#include "kernels/reduction_tree.h"
#include "tests/kernels/products_testing.h"

namespace echelon::cpu {
namespace {

class ProductsInvariance : public testing::TestWithParam<CpuIsa> {
 protected:
  void SetUp() override {
    if (!has_isa(GetParam())) GTEST_SKIP() << "this CPU lacks " << name_of(GetParam());
  }
};

/// One coding for each shape of inner loop.
std::vector<Coding> some_codings() {
  using enum Coding::Kind;
  return {{.kind = u4, .has_minimum = true, .scales_fit_f16 = true},
          {.kind = u8, .zero = 128, .scales_fit_f16 = true},
          {.kind = u8, .group = 16, .zero = 128},
          {.float_kind = Coding::FloatKind::bf16},
          {.float_kind = Coding::FloatKind::f32}};
}

TEST_P(ProductsInvariance, ARowAloneEqualsTheRowInAnyBatch) {
  for (const Coding& coding : some_codings()) {
    for (int64_t features : {1, 15, 16, 17, 192}) {
      const int64_t cols = 96, max_rows = 100;
      const SeededMatrix w(features, cols, coding, 21);
      std::vector<float> x = seeded_rows(max_rows, cols, 22);
      int64_t num_extreme = 0;
      const std::vector<float> extreme = extreme_rows(cols, &num_extreme);
      std::copy(extreme.begin(), extreme.end(), x.begin() + 3 * cols);
      const std::vector<float> all = run_linear(GetParam(), 1, whole(w), Compute::int8, x, max_rows);
      for (int64_t rows : {1, 2, 3, 7, 8, 16, 33}) {
        for (int64_t first : {int64_t{0}, int64_t{5}, max_rows - rows}) {  // in other places of a tile, too
          const std::vector<float> part(x.begin() + first * cols, x.begin() + (first + rows) * cols);
          const std::vector<float> want(all.begin() + first * features, all.begin() + (first + rows) * features);
          expect_same_bits(run_linear(GetParam(), 1, whole(w), Compute::int8, part, rows), want,
                           describe(coding) + ", rows " + std::to_string(rows));
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

/// More rows than one panel of linear(), and more columns than one panel's rows allow for.
TEST_P(ProductsInvariance, ManyRowsEqualFewRows) {
  const Coding coding{.kind = Coding::Kind::u4, .has_minimum = true, .scales_fit_f16 = true};
  const int64_t cols = 2048, rows = 77, features = 20;
  const SeededMatrix w(features, cols, coding, 23);
  for (Compute compute : {Compute::int8, Compute::bf16}) {
    const std::vector<float> x = seeded_rows(rows, cols, 24);
    const std::vector<float> all = run_linear(GetParam(), 1, whole(w), compute, x, rows);
    for (int64_t first = 0; first < rows; first += 11) {
      const std::vector<float> part(x.begin() + first * cols, x.begin() + (first + 11) * cols);
      const std::vector<float> want(all.begin() + first * features, all.begin() + (first + 11) * features);
      expect_same_bits(run_linear(GetParam(), 1, whole(w), compute, part, 11), want, "panel");
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(ProductsInvariance, Threads) {
  for (const Coding& coding : some_codings()) {
    for (int64_t features : {1, 17, 192}) {
      const SeededMatrix w(features, 64, coding, 31);
      const std::vector<float> x = seeded_rows(13, 64, 32);
      const std::vector<float> one = run_linear(GetParam(), 1, whole(w), Compute::int8, x, 13);
      for (int threads : {2, 3}) {
        expect_same_bits(run_linear(GetParam(), threads, whole(w), Compute::int8, x, 13), one, describe(coding));
        if (HasFatalFailure()) return;
      }
    }
  }
}

/// So many rows that threads divide them: 2 take half each, 6 three parts of the rows and two of the features, 5 only
/// features.
TEST_P(ProductsInvariance, ThreadsDivideManyRows) {
  const int64_t rows = 397, cols = 64;
  for (const Coding& coding : some_codings()) {
    for (int64_t features : {17, 192}) {
      const SeededMatrix w(features, cols, coding, 33);
      const std::vector<float> x = seeded_rows(rows, cols, 34);
      const std::vector<float> one = run_linear(GetParam(), 1, whole(w), Compute::int8, x, rows);
      for (int threads : {2, 5, 6}) {
        expect_same_bits(run_linear(GetParam(), threads, whole(w), Compute::int8, x, rows), one, describe(coding));
        if (HasFatalFailure()) return;
      }
    }
  }
}

/// The slots of one part, packed from its slice of the columns alone.
std::vector<std::vector<float>> slots_of_part(CpuIsa isa, const SeededMatrix& w, const ReductionTree& tree, int part,
                                              int64_t grain_cols, const std::vector<float>& x, int64_t rows) {
  const int64_t cols = tree.num_grains(part) * grain_cols, first_col = tree.first_grain(part) * grain_cols;
  PackPlan plan{.rows = {{&w, 0, w.rows()}}, .first_col = first_col, .leaves = {}};
  for (const ReductionTree::Leaf& leaf : tree.leaves(part)) {
    plan.leaves.push_back({.num_cols = leaf.num_grains * grain_cols, .merges = leaf.merges, .slot = leaf.slot});
  }
  std::vector<float> slice;
  for (int64_t r = 0; r < rows; ++r) {
    const auto begin = x.begin() + r * w.cols() + first_col;
    slice.insert(slice.end(), begin, begin + cols);
  }
  const std::vector<float> all = run_linear(isa, 1, plan, Compute::int8, slice, rows);
  std::vector<std::vector<float>> slots;
  const int64_t size = rows * w.rows();
  for (int s = 0; s < tree.num_slots(part); ++s)
    slots.emplace_back(all.begin() + s * size, all.begin() + (s + 1) * size);
  return slots;
}

std::vector<float> finish(const ReductionTree& tree, const std::vector<std::vector<float>>& slots) {
  const FloatEnvironment environment;
  std::vector<std::vector<float>> stack;
  for (int i = 0; i < tree.total_slots(); ++i) {
    stack.push_back(slots[static_cast<size_t>(i)]);
    for (int m = 0; m < tree.finish_merges()[i]; ++m) {
      std::vector<float> top = std::move(stack.back());
      stack.pop_back();
      for (size_t e = 0; e < top.size(); ++e) stack.back()[e] = stack.back()[e] + top[e];
    }
  }
  EXPECT_EQ(stack.size(), 1u);
  return stack.back();
}

TEST_P(ProductsInvariance, AnyNumberOfPartsFinishesToTheBitsOfOne) {
  const Coding codings[] = {{.kind = Coding::Kind::u4, .has_minimum = true, .scales_fit_f16 = true},
                            {.float_kind = Coding::FloatKind::bf16}};
  for (const Coding& coding : codings) {
    for (int64_t grains : {9, 24, 4, 32, 1, 100}) {
      const int64_t grain_cols = 32, rows = 3, features = 17;
      const SeededMatrix w(features, grains * grain_cols, coding, 41);
      const std::vector<float> x = seeded_rows(rows, w.cols(), 42);
      std::vector<float> one;
      for (int parts = 1; parts <= kNumLeaves; ++parts) {
        const ReductionTree tree(grains, parts);
        std::vector<std::vector<float>> slots;
        for (int part = 0; part < parts; ++part) {
          if (tree.num_grains(part) == 0) continue;
          for (auto& slot : slots_of_part(GetParam(), w, tree, part, grain_cols, x, rows))
            slots.push_back(std::move(slot));
        }
        ASSERT_EQ(static_cast<int>(slots.size()), tree.total_slots());
        const std::vector<float> sum = finish(tree, slots);
        if (parts == 1) {
          one = sum;
          continue;
        }
        expect_same_bits(sum, one,
                         describe(coding) + ", grains " + std::to_string(grains) + ", parts " + std::to_string(parts));
        if (HasFatalFailure()) return;
      }
      // The comparison above sees the order of additions: the same product as one leaf has other bits.
      const std::vector<float> sequential = run_linear(GetParam(), 1, whole(w), Compute::int8, x, rows);
      if (grains == 1) {
        expect_same_bits(sequential, one, "one grain is one leaf");
      } else {
        EXPECT_FALSE(std::equal(one.begin(), one.end(), sequential.begin(), same_bits)) << "grains " << grains;
      }
    }
  }
}

/// 24 leaves of one group each, added by hand as the tree is defined.
TEST_P(ProductsInvariance, LeavesCombineByTheProgram) {
  const SeededMatrix w(16, 24 * 32, {.kind = Coding::Kind::u8, .zero = 128, .scales_fit_f16 = true}, 51);
  const std::vector<float> x = seeded_rows(2, w.cols(), 52);
  const ReductionTree tree(24, 1);
  const std::vector<float> got = slots_of_part(GetParam(), w, tree, 0, 32, x, 2).front();

  const FloatEnvironment environment;
  const QuantizedRows q = quantize_by_definition(x, 2, w.cols());
  for (int64_t r = 0; r < 2; ++r) {
    for (int64_t f = 0; f < 16; ++f) {
      float subtree[8];
      for (int64_t s = 0; s < 8; ++s) {
        float leaf[3];
        for (int64_t i = 0; i < 3; ++i) {
          const int64_t group = 3 * s + i;
          leaf[i] = integer_leaf(w, f, 32 * group, 32, &q.codes[r * w.cols() + 32 * group], &q.scales[r * 24 + group]);
        }
        subtree[s] = (leaf[0] + leaf[1]) + leaf[2];
      }
      const float want = ((subtree[0] + subtree[1]) + (subtree[2] + subtree[3])) +
                         ((subtree[4] + subtree[5]) + (subtree[6] + subtree[7]));
      ASSERT_TRUE(same_bits(got[r * 16 + f], want)) << got[r * 16 + f] << " for " << want;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllIsas, ProductsInvariance, testing::ValuesIn(kAllIsas),
                         [](const auto& each) { return name_of(each.param); });

}  // namespace
}  // namespace echelon::cpu
