// Rotary embedding, QK norm and the layout of the cache against double precision and the definition in
// kernels/backend.h.
#include "kernels/cpu/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/base/half.h"
#include "kernels/base/limits.h"
#include "tests/kernels/op_test_support.h"

namespace echelon::cpu {
namespace {

class RopeTest : public IsaTest {};
INSTANTIATE_TEST_SUITE_P(Isa, RopeTest, testing::ValuesIn(kAllIsas), isa_name);

struct RopeCase {
  RopeStyle style;
  int head_dim, rotary_dim;
  bool qk_norm;
  KvType type;
};

/// Norm and rope of one head in double precision.
std::vector<double> turned(const float* head, const RopeCase& test, const RopePlan& rope, const float* norm,
                           double epsilon, int position) {
  std::vector<double> x(head, head + test.head_dim);
  if (norm != nullptr) {
    double squares = 0;
    for (double value : x) squares += value * value;
    for (int d = 0; d < test.head_dim; ++d) x[d] *= norm[d] / std::sqrt(squares / test.head_dim + epsilon);
  }
  if (test.style == RopeStyle::none) return x;
  for (int i = 0; i < test.rotary_dim / 2; ++i) {
    const int a = test.style == RopeStyle::halves ? i : 2 * i;
    const int b = test.style == RopeStyle::halves ? i + test.rotary_dim / 2 : 2 * i + 1;
    const double factor = rope.frequency_factors.empty() ? 1.0 : rope.frequency_factors[i];
    const double angle = position * rope.position_scale * std::pow(rope.base, -2.0 * i / test.rotary_dim) / factor;
    const double c = std::cos(angle) * rope.magnitude, s = std::sin(angle) * rope.magnitude, xa = x[a], xb = x[b];
    x[a] = xa * c - xb * s;
    x[b] = xa * s + xb * c;
  }
  return x;
}

TEST_P(RopeTest, QueriesKeysAndCacheAreWhatTheDefinitionSays) {
  const RopeCase cases[] = {
      {RopeStyle::halves, 64, 64, false, KvType::bf16},       {RopeStyle::halves, 256, 256, true, KvType::f32},
      {RopeStyle::interleaved, 128, 128, false, KvType::f32}, {RopeStyle::interleaved, 80, 20, true, KvType::bf16},
      {RopeStyle::halves, 80, 32, false, KvType::f32},        {RopeStyle::none, 96, 0, true, KvType::bf16},
      {RopeStyle::halves, 80, 80, true, KvType::int8},        {RopeStyle::interleaved, 64, 64, false, KvType::int8}};
  constexpr int kHeads = 3, kKvHeads = 2, kRows = 70, kFirst = 200 * kBlockTokens + 21;
  for (const RopeCase& test : cases) {
    const auto device = backend(2);
    RopePlan rope{.rotary_dim = test.rotary_dim, .base = 500000.0, .max_positions = kFirst + kRows};
    if (test.rotary_dim == 32) {
      rope.frequency_factors.assign(16, 8.0f);
      rope.frequency_factors[0] = 1.0f;
      rope.position_scale = 0.25;
      rope.magnitude = 1.1f;
    }
    const auto table = test.style == RopeStyle::none ? nullptr : device->make_rope(rope);
    AttentionPlan plan{
        .num_heads = kHeads, .num_kv_heads = kKvHeads, .head_dim = test.head_dim, .kv_head_of_head = {0, 0, 1}};
    std::vector<float> q_norm(test.head_dim), k_norm(test.head_dim);
    fill_normal(q_norm, 3);
    fill_normal(k_norm, 4);
    plan.q_norm = test.qk_norm ? q_norm.data() : nullptr;
    plan.k_norm = test.qk_norm ? k_norm.data() : nullptr;
    plan.norm_epsilon = 1e-6f;
    plan.rope_style = test.style;
    plan.rope = table.get();
    KvCacheView cache{
        .type = test.type, .num_blocks = 4, .num_layers = 2, .num_kv_heads = kKvHeads, .head_dim = test.head_dim};
    const auto memory = device->allocate(static_cast<size_t>(cache.block_bytes() * cache.num_blocks));
    cache.data = memory->data();
    std::vector<int32_t> blocks(204, 0);
    blocks[200] = 2;
    blocks[201] = 0;
    blocks[202] = 3;
    TestMatrix qkv(kRows, (kHeads + 2 * kKvHeads) * test.head_dim, 5);
    fill_normal(qkv.values, 77);
    TestMatrix before = qkv;
    const Segment segment{.num_rows = kRows, .first_position = kFirst, .blocks = blocks};
    device->rope_and_cache(qkv, {&segment, 1}, plan, cache, 1);

    for (int r = 0; r < kRows; ++r) {
      const int position = kFirst + r, slot = position % kBlockTokens;
      for (int h = 0; h < kHeads + 2 * kKvHeads; ++h) {
        const bool is_query = h < kHeads, is_value = h >= kHeads + kKvHeads;
        const float* in = before.row(r) + h * test.head_dim;
        const float* out = qkv.row(r) + h * test.head_dim;
        std::vector<double> expected(in, in + test.head_dim);
        if (!is_value) expected = turned(in, test, rope, is_query ? plan.q_norm : plan.k_norm, 1e-6, position);
        const std::byte* head =
            is_query ? nullptr : cache.head(blocks[position / kBlockTokens], 1, (h - kHeads) % kKvHeads);
        for (int d = 0; d < test.head_dim; ++d) {
          ASSERT_NEAR(out[d], expected[d], 3e-6 * (1 + std::fabs(expected[d])))
              << "row " << r << " head " << h << " " << d;
          if (is_query) continue;
          int at = is_value ? (kBlockTokens + slot) * test.head_dim + d : d * kBlockTokens + slot;
          if (test.type == KvType::bf16) {  // pairs of tokens, or of dims, side by side
            at = is_value ? (kBlockTokens + slot / 2 * 2) * test.head_dim + 2 * d + slot % 2
                          : (d / 2 * kBlockTokens + slot) * 2 + d % 2;
          }
          if (test.type == KvType::int8) {
            float m = 0;
            for (int i = 0; i < test.head_dim; ++i) m = std::max(m, std::fabs(out[i]));
            const float* scales = reinterpret_cast<const float*>(head + cache.scale_offset());
            ASSERT_EQ(scales[(is_value ? kBlockTokens : 0) + slot], m / 127.0f);
            ASSERT_EQ(reinterpret_cast<const int8_t*>(head)[at], std::nearbyintf(out[d] * (127.0f / m)));
          } else if (test.type == KvType::bf16) {
            ASSERT_EQ(reinterpret_cast<const uint16_t*>(head)[at], float_to_bf16(out[d]));
          } else {
            ASSERT_EQ(reinterpret_cast<const float*>(head)[at], out[d]);
          }
        }
      }
    }
  }
}

TEST_P(RopeTest, BitsDoNotDependOnThreadsChunksOrInstructionSet) {
  constexpr int kRows = 90, kHeads = 4, kDim = 64;
  const auto run = [&](CpuIsa isa, int num_threads, int chunk) {
    const auto device = make_cpu_backend({.num_threads = num_threads, .isa = isa});
    const auto table = device->make_rope({.rotary_dim = kDim, .max_positions = kRows});
    AttentionPlan plan{.num_heads = 2, .num_kv_heads = 1, .head_dim = kDim, .kv_head_of_head = {0, 0}};
    const std::vector<float> norm(kDim, 0.7f);
    plan.q_norm = norm.data();
    plan.rope_style = RopeStyle::interleaved;
    plan.rope = table.get();
    KvCacheView cache{.num_blocks = 3, .num_layers = 1, .num_kv_heads = 1, .head_dim = kDim};
    const auto memory = device->allocate(static_cast<size_t>(cache.block_bytes() * 3));
    cache.data = memory->data();
    const std::vector<int32_t> blocks = {1, 2, 0};
    TestMatrix qkv(kRows, kHeads * kDim);
    fill_normal(qkv.values, 5);
    for (int first = 0; first < kRows; first += chunk) {
      const Segment segment{.num_rows = std::min(chunk, kRows - first), .first_position = first, .blocks = blocks};
      const Matrix part{.data = qkv.row(first), .rows = segment.num_rows, .cols = qkv.cols, .stride = qkv.stride};
      device->rope_and_cache(part, {&segment, 1}, plan, cache, 0);
    }
    std::vector<float> result = qkv.values;
    const float* stored = reinterpret_cast<const float*>(cache.data);
    result.insert(result.end(), stored, stored + memory->size_bytes() / sizeof(float));
    return result;
  };
  const std::vector<float> expected = run(CpuIsa::portable, 1, kRows);
  for (int num_threads : {1, 2, 3}) {
    for (int chunk : {1, 7, 32, kRows}) EXPECT_EQ(num_different(run(GetParam(), num_threads, chunk), expected), 0);
  }
}

TEST(RopeTableTest, PlansThatNoModelCanMeanAreErrors) {
  const auto device = make_cpu_backend({});
  const RopePlan good{.rotary_dim = 64, .max_positions = 100};
  EXPECT_NO_THROW(device->make_rope(good));
  const auto refused = [&](auto change) {
    RopePlan plan = good;
    change(plan);
    EXPECT_THROW(device->make_rope(plan), Error);
  };
  refused([](RopePlan& plan) { plan.rotary_dim = 0; });
  refused([](RopePlan& plan) { plan.rotary_dim = 63; });
  refused([](RopePlan& plan) { plan.rotary_dim = 100000; });
  refused([](RopePlan& plan) { plan.base = 0; });
  refused([](RopePlan& plan) { plan.base = std::nan(""); });
  refused([](RopePlan& plan) { plan.position_scale = -1; });
  refused([](RopePlan& plan) { plan.position_scale = 1e9; });
  refused([](RopePlan& plan) { plan.max_positions = 0; });
  refused([](RopePlan& plan) { plan.max_positions = int64_t{1} << 40; });
  refused([](RopePlan& plan) { plan.frequency_factors = {1.0f}; });
  refused([](RopePlan& plan) { plan.frequency_factors.assign(32, 0.0f); });
}

}  // namespace
}  // namespace echelon::cpu
