// gated_linear() against its parts: linear() with the two matrices one below the other, then gated_activation(). Both
// are looked at through one more product, which sees every code and scale.
#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/op_test_support.h"
#include "tests/kernels/products_testing.h"

namespace echelon::cpu {
namespace {

class GatedLinearTest : public IsaTest {
 protected:
  struct Case {
    Coding coding;
    Compute compute = Compute::int8;
    int64_t width = 0, cols = 0;
    int num_threads = 1;
    Gate gate = Gate::silu;
  };

  /// Rows of x through gate, up and down; `fused`: by gated_linear().
  std::vector<float> run(const Case& c, bool fused, const std::vector<float>& x, int64_t rows) const {
    const SeededMatrix gate(c.width + 3, c.cols, c.coding, 31), up(c.width, c.cols, c.coding, 32);
    const SeededMatrix down(48, c.width, c.coding, 33);
    const auto device = backend(c.num_threads, c.compute);
    const PackPlan plan{.rows = {{&gate, 3, c.width}, {&up, 0, c.width}},
                        .first_col = 0,
                        .leaves = {{.num_cols = c.cols, .merges = 0, .slot = 0}},
                        .interleaved = fused};
    const auto gate_up = device->pack(plan);
    const auto last =
        device->pack({.rows = {{&down, 0, 48}}, .leaves = {{.num_cols = c.width, .merges = 0, .slot = 0}}});
    const auto in = device->make_activation(rows, c.cols), mlp = device->make_activation(rows, c.width);
    const std::vector<float> ones(static_cast<size_t>(c.cols), 1.0f);
    TestMatrix given(rows, c.cols), between(rows, 2 * c.width), out(rows, 48);
    given.values = x;
    device->rms_norm(given, ones.data(), 1e-5f, *in);
    if (fused) {
      device->gated_linear(*in, rows, *gate_up, c.gate, *mlp);
    } else {
      device->linear(*in, rows, *gate_up, nullptr, between, 0);
      device->gated_activation(between, c.gate, *mlp);
    }
    device->linear(*mlp, rows, *last, nullptr, out, 0);
    return out.values;
  }

  void expect_equal(const Case& c, const std::vector<float>& x, int64_t rows) const {
    const std::vector<float> fused = run(c, true, x, rows), parts = run(c, false, x, rows);
    for (size_t i = 0; i < parts.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(fused[i]), std::bit_cast<uint32_t>(parts[i]))
          << describe(c.coding) << ", width " << c.width << ", " << rows << " rows, " << c.num_threads
          << " threads, at " << i << ": " << fused[i] << " for " << parts[i];
    }
  }
};

TEST_P(GatedLinearTest, HasTheBitsOfItsParts) {
  for (const Coding& coding : all_codings()) {
    for (const int64_t width : {32, 96, 320}) {
      for (const int64_t rows : {1, 7, 40}) {
        const Case c{.coding = coding, .width = width, .cols = 64, .num_threads = static_cast<int>(rows % 3) + 1};
        ASSERT_NO_FATAL_FAILURE(expect_equal(c, seeded_rows(rows, c.cols, 34), rows));
      }
    }
  }
}

TEST_P(GatedLinearTest, HasTheBitsOfItsPartsInEveryCompute) {
  const Coding coding{.kind = Coding::Kind::u4, .has_minimum = true, .scales_fit_f16 = true};
  for (const Compute compute : {Compute::int8, Compute::bf16, Compute::f32}) {
    const Case c{
        .coding = coding, .compute = compute, .width = 64, .cols = 96, .num_threads = 2, .gate = Gate::gelu_tanh};
    ASSERT_NO_FATAL_FAILURE(expect_equal(c, seeded_rows(19, c.cols, 35), 19));
  }
}

/// More rows than one panel, enough for each thread to take its own; more columns than one piece; numbers that are
/// hard.
TEST_P(GatedLinearTest, ManyRowsAndExtremes) {
  const Coding coding{.kind = Coding::Kind::u4, .zero = 8, .scales_fit_f16 = true};
  const Case c{.coding = coding, .width = 2048, .cols = 64, .num_threads = 3};
  int64_t num_extreme = 0;
  std::vector<float> x = extreme_rows(c.cols, &num_extreme);
  ASSERT_NO_FATAL_FAILURE(expect_equal(c, x, num_extreme));
  const std::vector<float> more = seeded_rows(400, c.cols, 36);
  x.insert(x.end(), more.begin(), more.end());
  ASSERT_NO_FATAL_FAILURE(expect_equal(c, x, num_extreme + 400));
}

INSTANTIATE_TEST_SUITE_P(Isa, GatedLinearTest, testing::ValuesIn(kAllIsas), isa_name);

TEST(GatedLinearDeathTest, WantsTwoEqualRanges) {
  const Coding coding{.kind = Coding::Kind::u4, .has_minimum = true, .scales_fit_f16 = true};
  const SeededMatrix a(64, 32, coding, 1);
  const auto device = make_cpu_backend({});
  const auto pack = [&](int64_t first, int64_t second) {
    device->pack({.rows = {{&a, 0, first}, {&a, 0, second}},
                  .leaves = {{.num_cols = 32, .merges = 0, .slot = 0}},
                  .interleaved = true});
  };
  EXPECT_DEATH(pack(32, 64), "to interleave");
  EXPECT_DEATH(pack(16, 16), "to interleave");
}

}  // namespace
}  // namespace echelon::cpu
