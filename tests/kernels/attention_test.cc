// Attention over the paged cache: right against double precision, and the same bits however a prompt is cut into calls,
// whatever shares a call, whichever blocks hold it, on every instruction set and number of threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/base/half.h"
#include "kernels/base/limits.h"
#include "tests/kernels/op_test_support.h"

namespace echelon::cpu {
namespace {

struct Shape {
  int num_heads = 3, num_kv_heads = 1, head_dim = 64;
  int window = 0;
  float softcap = 0;
  KvType type = KvType::bf16;

  int cols() const { return (num_heads + 2 * num_kv_heads) * head_dim; }
  AttentionPlan plan() const {
    AttentionPlan plan{.num_heads = num_heads, .num_kv_heads = num_kv_heads, .head_dim = head_dim};
    for (int h = 0; h < num_heads; ++h) plan.kv_head_of_head.push_back(h * num_kv_heads / num_heads);
    plan.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    plan.window = window;
    plan.softcap = softcap;
    return plan;
  }
};

constexpr int kLayers = 2, kLayer = 1;

/// A cache whose blocks are dealt out in random order, and one backend.
class Attender {
 public:
  Attender(const Shape& shape, CpuIsa isa, int num_threads, int num_blocks, uint64_t seed = 1)
      : shape_(shape), backend_(make_cpu_backend({.compute = Compute::f32, .num_threads = num_threads, .isa = isa})) {
    view_ = {.type = shape.type,
             .num_blocks = num_blocks,
             .num_layers = kLayers,
             .num_kv_heads = shape.num_kv_heads,
             .head_dim = shape.head_dim};
    memory_ = backend_->allocate(static_cast<size_t>(view_.block_bytes() * num_blocks));
    view_.data = memory_->data();
    std::fill_n(reinterpret_cast<uint8_t*>(memory_->data()), memory_->size_bytes(),
                uint8_t{0xff});  // NaN: never to be seen
    free_.resize(num_blocks);
    std::iota(free_.begin(), free_.end(), 0);
    std::shuffle(free_.begin(), free_.end(), std::mt19937_64(seed));
  }

  std::vector<int32_t> take_blocks(int num_positions) {
    std::vector<int32_t> blocks;
    for (int i = 0; i < (num_positions + kBlockTokens - 1) / kBlockTokens; ++i) {
      blocks.push_back(free_.back());
      free_.pop_back();
    }
    return blocks;
  }

  std::vector<float> run(TestMatrix qkv, std::span<const Segment> segments) {
    const AttentionPlan plan = shape_.plan();
    const auto out = backend_->make_activation(qkv.rows, int64_t{shape_.num_heads} * shape_.head_dim);
    backend_->rope_and_cache(qkv, segments, plan, view_, kLayer);
    backend_->attention(qkv, segments, plan, view_, kLayer, *out);
    return rows_of(*out);
  }

  /// A sequence from its first token, `chunk` rows a call.
  std::vector<float> run_in_chunks(TestMatrix& qkv, int chunk) {
    const std::vector<int32_t> blocks = take_blocks(static_cast<int>(qkv.rows));
    std::vector<float> result;
    for (int64_t first = 0; first < qkv.rows; first += chunk) {
      const int rows = static_cast<int>(std::min<int64_t>(chunk, qkv.rows - first));
      TestMatrix part(rows, qkv.cols);
      std::copy_n(qkv.row(first), rows * qkv.cols, part.row(0));
      const Segment segment{.num_rows = rows, .first_position = static_cast<int>(first), .blocks = blocks};
      const std::vector<float> values = run(std::move(part), {&segment, 1});
      result.insert(result.end(), values.begin(), values.end());
    }
    return result;
  }

 private:
  Shape shape_;
  std::unique_ptr<Backend> backend_;
  KvCacheView view_;
  std::unique_ptr<Buffer> memory_;
  std::vector<int32_t> free_;
};

TestMatrix random_qkv(const Shape& shape, int rows, uint64_t seed, float deviation = 1.0f) {
  TestMatrix qkv(rows, shape.cols());
  fill_normal(qkv.values, seed, deviation);
  return qkv;
}

struct ReferenceRow {
  std::vector<double> values;
  std::vector<double> rounding;  ///< by how much rounding the weights to bf16 (2^-8 of each) may move a value at most
};

/// One row in double precision, from K and V as the cache rounds them, and q as the kernels of a bf16 cache do.
ReferenceRow reference_row(const Shape& shape, TestMatrix& qkv, int row) {
  const AttentionPlan plan = shape.plan();
  const auto stored = [&](int j, int first_col, int d) -> double {
    const float* head = qkv.row(j) + first_col;
    if (shape.type == KvType::bf16) return bf16_to_float(float_to_bf16(head[d]));
    if (shape.type == KvType::f32) return head[d];
    float m = 0;
    for (int i = 0; i < shape.head_dim; ++i) m = std::max(m, std::fabs(head[i]));
    return m < 0x1p-119f ? 0.0 : static_cast<double>(std::nearbyint(head[d] * (127.0f / m))) * (m / 127.0f);
  };
  std::vector<double> out(shape.num_heads * shape.head_dim), rounding(out.size());
  for (int h = 0; h < shape.num_heads; ++h) {
    const int key_col = (shape.num_heads + plan.kv_head_of_head[h]) * shape.head_dim;
    const int value_col = key_col + shape.num_kv_heads * shape.head_dim;
    const int first = shape.window > 0 ? std::max(0, row - shape.window + 1) : 0;
    std::vector<double> scores;
    for (int j = first; j <= row; ++j) {
      double score = 0;
      for (int d = 0; d < shape.head_dim; ++d) {
        const float q = qkv.row(row)[h * shape.head_dim + d];
        score += (shape.type == KvType::bf16 ? bf16_to_float(float_to_bf16(q)) : q) * stored(j, key_col, d);
      }
      score *= plan.scale;
      scores.push_back(shape.softcap > 0 ? shape.softcap * std::tanh(score / shape.softcap) : score);
    }
    const double top = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - top);
    for (int j = first; j <= row; ++j) {
      for (int d = 0; d < shape.head_dim; ++d) {
        out[h * shape.head_dim + d] += scores[j - first] / sum * stored(j, value_col, d);
      }
    }
    for (int j = first; j <= row && shape.type == KvType::bf16; ++j) {
      for (int d = 0; d < shape.head_dim; ++d) {  // sum of p (1 + e) v / sum of p (1 + e)
        const int at = h * shape.head_dim + d;
        rounding[at] += 0x1.02p-8 * scores[j - first] / sum * std::fabs(stored(j, value_col, d) - out[at]);
      }
    }
  }
  return {.values = out, .rounding = rounding};
}

class AttentionTest : public IsaTest {
 protected:
  void expect_right(const Shape& shape, TestMatrix& qkv, const std::vector<float>& values, int row_step,
                    double tolerance) {
    const int width = shape.num_heads * shape.head_dim;
    for (int row = static_cast<int>(qkv.rows) - 1; row >= 0; row -= row_step) {
      const ReferenceRow expected = reference_row(shape, qkv, row);
      for (int c = 0; c < width; ++c) {
        ASSERT_NEAR(values[row * width + c], expected.values[c], tolerance + expected.rounding[c])
            << "row " << row << ", column " << c;
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Isa, AttentionTest, testing::ValuesIn(kAllIsas), isa_name);

TEST_P(AttentionTest, EveryContextFromOneTo1100MatchesDoublePrecision) {
  for (KvType type : {KvType::bf16, KvType::f32, KvType::int8}) {
    const Shape shape{.type = type};
    TestMatrix qkv = random_qkv(shape, 1100, 17);
    Attender attender(shape, GetParam(), 1, 64);
    expect_right(shape, qkv, attender.run_in_chunks(qkv, 1100), 7, 2e-5);
  }
}

TEST_P(AttentionTest, HeadsWindowsAndCapsMatchDoublePrecision) {
  const Shape shapes[] = {
      {.num_heads = 9, .num_kv_heads = 3, .head_dim = 64},
      {.num_heads = 4, .num_kv_heads = 1, .head_dim = 256, .window = 40},
      {.num_heads = 2, .num_kv_heads = 2, .head_dim = 80, .softcap = 20.0f},
      {.num_heads = 3, .num_kv_heads = 2, .head_dim = 96, .window = 300, .softcap = 5.0f},
      {.num_heads = 11, .num_kv_heads = 1, .head_dim = 128, .window = 1},
      {.num_heads = 1, .num_kv_heads = 1, .head_dim = 16, .window = 32, .type = KvType::f32},
      {.num_heads = 9, .num_kv_heads = 3, .head_dim = 64, .type = KvType::int8},
      {.num_heads = 5, .num_kv_heads = 2, .head_dim = 80, .window = 40, .softcap = 20.0f, .type = KvType::int8},
      {.num_heads = 4, .num_kv_heads = 1, .head_dim = 256, .type = KvType::int8},
  };
  for (const Shape& shape : shapes) {
    TestMatrix qkv = random_qkv(shape, 400, 23);
    Attender attender(shape, GetParam(), 2, 16);
    expect_right(shape, qkv, attender.run_in_chunks(qkv, 150), 3, 3e-5);
  }
}

TEST_P(AttentionTest, OutlyingScoresMatchDoublePrecision) {
  const Shape shape{.type = KvType::f32};
  for (float deviation : {1e-6f, 12.0f, 1e4f}) {  // all alike; one key takes all; scores of 1e8
    TestMatrix qkv = random_qkv(shape, 300, 29, deviation);
    Attender attender(shape, GetParam(), 1, 16);
    // a score of 1e3 is known to 1e-4: neighbours can be off by as much
    expect_right(shape, qkv, attender.run_in_chunks(qkv, 64), 5, deviation < 1 ? 1e-10 : deviation < 100 ? 5e-3 : 1e4);
    if (deviation < 100) continue;
    const std::vector<float> values =
        attender.run(random_qkv(shape, 1, 3), std::vector<Segment>{{.num_rows = 1, .blocks = attender.take_blocks(1)}});
    for (float value : values) ASSERT_TRUE(std::isfinite(value));
  }
}

/// 600 positions: three spans, the last one open. Windows end inside a span.
TEST_P(AttentionTest, BitsDoNotDependOnChunksThreadsBlocksOrInstructionSet) {
  const Shape shapes[] = {{.num_heads = 3, .num_kv_heads = 1, .head_dim = 64},
                          {.num_heads = 3, .num_kv_heads = 2, .head_dim = 80, .window = 290, .type = KvType::f32},
                          {.num_heads = 4, .num_kv_heads = 1, .head_dim = 128, .window = 33, .softcap = 9.0f},
                          {.num_heads = 4, .num_kv_heads = 2, .head_dim = 80, .window = 290, .type = KvType::int8}};
  for (const Shape& shape : shapes) {
    TestMatrix qkv = random_qkv(shape, 600, 37, 1.5f);
    Attender reference(shape, CpuIsa::portable, 1, 32);
    const std::vector<float> expected = reference.run_in_chunks(qkv, 600);
    uint64_t seed = 50;
    for (int num_threads : {1, 2, 3}) {
      for (int chunk : {1, 16, 100, 600}) {
        // without fma instructions a run takes a hundred times as long
        if (GetParam() == CpuIsa::portable && num_threads + chunk % 2 != 2) continue;
        Attender attender(shape, GetParam(), num_threads, 40, ++seed);
        EXPECT_EQ(num_different(attender.run_in_chunks(qkv, chunk), expected), 0)
            << "head " << shape.head_dim << ", " << num_threads << " threads, chunks of " << chunk;
      }
    }
  }
}

/// A long decode alone is divided by spans; among others it is not.
void expect_same_bits_among_others(CpuIsa isa, KvType type) {
  const Shape shape{.num_heads = 4, .num_kv_heads = 2, .head_dim = 64, .type = type};
  const int lengths[] = {700, 1, 31, 33, 257, 64, 520};
  std::vector<TestMatrix> sequences;
  for (int length : lengths) sequences.push_back(random_qkv(shape, length, 60 + length));
  const int64_t width = int64_t{shape.num_heads} * shape.head_dim;
  std::vector<std::vector<float>> alone;
  for (TestMatrix& qkv : sequences) {
    const std::vector<float> all = Attender(shape, isa, 1, 40).run_in_chunks(qkv, 1100);
    alone.emplace_back(all.end() - width, all.end());
  }
  for (int num_threads : {1, 2, 3}) {
    Attender attender(shape, isa, num_threads, 100, 9);
    std::vector<std::vector<int32_t>> tables;
    std::vector<Segment> segments;
    TestMatrix last(std::ssize(sequences), shape.cols());
    for (size_t s = 0; s < sequences.size(); ++s) {
      tables.push_back(attender.take_blocks(lengths[s]));
      if (lengths[s] > 1) {
        TestMatrix before(lengths[s] - 1, shape.cols());
        std::copy_n(sequences[s].row(0), before.values.size(), before.row(0));
        const Segment segment{.num_rows = lengths[s] - 1, .blocks = tables[s]};
        attender.run(std::move(before), {&segment, 1});
      }
      std::copy_n(sequences[s].row(lengths[s] - 1), shape.cols(), last.row(static_cast<int64_t>(s)));
      segments.push_back({.first_row = static_cast<int>(s), .num_rows = 1, .first_position = lengths[s] - 1});
    }
    for (size_t s = 0; s < sequences.size(); ++s) segments[s].blocks = tables[s];
    const std::vector<float> together = attender.run(last, segments);
    for (size_t s = 0; s < sequences.size(); ++s) {
      TestMatrix row(1, shape.cols());
      std::copy_n(last.row(static_cast<int64_t>(s)), shape.cols(), row.row(0));
      Segment segment = segments[s];
      segment.first_row = 0;
      const auto begin = together.begin() + static_cast<int64_t>(s) * width;
      EXPECT_EQ(num_different({begin, begin + width}, alone[s]), 0) << lengths[s] << ", " << num_threads << " threads";
      EXPECT_EQ(num_different(attender.run(std::move(row), {&segment, 1}), alone[s]), 0)
          << lengths[s] << " by itself, " << num_threads << " threads";
    }
  }
}

TEST_P(AttentionTest, BitsDoNotDependOnTheSequencesBeside) {
  for (const KvType type : {KvType::bf16, KvType::int8}) expect_same_bits_among_others(GetParam(), type);
}

/// Division of the heads over ranks: a rank with some of the query heads gives their columns.
void expect_same_bits_of_a_head(CpuIsa isa, KvType type) {
  const Shape all{.num_heads = 6, .num_kv_heads = 2, .head_dim = 64, .type = type};
  TestMatrix qkv = random_qkv(all, 300, 71);
  const std::vector<float> expected = Attender(all, isa, 2, 16).run_in_chunks(qkv, 90);
  const Shape one{.num_heads = 1, .num_kv_heads = 1, .head_dim = 64, .type = type};
  for (int h = 0; h < 6; ++h) {
    TestMatrix mine(300, one.cols());
    for (int r = 0; r < 300; ++r) {
      std::copy_n(qkv.row(r) + h * 64, 64, mine.row(r));
      std::copy_n(qkv.row(r) + (6 + h / 3) * 64, 64, mine.row(r) + 64);
      std::copy_n(qkv.row(r) + (8 + h / 3) * 64, 64, mine.row(r) + 128);
    }
    const std::vector<float> values = Attender(one, isa, 1, 16).run_in_chunks(mine, 300);
    for (int r = 0; r < 300; ++r) {
      for (int d = 0; d < 64; ++d) ASSERT_EQ(values[r * 64 + d], expected[r * 384 + h * 64 + d]);
    }
  }
}

TEST_P(AttentionTest, BitsOfAHeadDoNotDependOnTheHeadsBeside) {
  for (const KvType type : {KvType::bf16, KvType::int8}) expect_same_bits_of_a_head(GetParam(), type);
}

/// Zeros, a subnormal scale, huge values; an infinity or a NaN in one token reaches only queries that see it: neither
/// the other half of a bf16 pair nor a query beside.
void expect_extremes_stay_with_their_token(CpuIsa isa, KvType type, int place) {
  const Shape shape{.num_heads = 2, .num_kv_heads = 1, .head_dim = 64, .type = type};
  const float extremes[] = {0.0f,
                            -0.0f,
                            1e-39f,
                            1.1754942e-38f,  // the largest subnormal: rounded to bf16 it would be a number again
                            2e-38f,
                            1e30f,
                            std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()};
  constexpr int kRows = 100;
  for (const float extreme : extremes) {
    TestMatrix qkv = random_qkv(shape, kRows, 83);
    const std::vector<float> plain = Attender(shape, isa, 1, 8).run_in_chunks(qkv, 33);
    std::fill_n(qkv.row(place) + 2 * 64, 2 * 64, extreme);  // its K and V
    const std::vector<float> values = Attender(shape, isa, 1, 8).run_in_chunks(qkv, 33);
    EXPECT_EQ(num_different(values, Attender(shape, CpuIsa::portable, 2, 8).run_in_chunks(qkv, kRows)), 0) << extreme;
    for (int64_t i = 0; i < place * 128; ++i) ASSERT_EQ(values[i], plain[i]) << extreme;
    for (int64_t i = place * 128; i < kRows * 128 && std::abs(extreme) < 1e20f; ++i) {
      ASSERT_TRUE(std::isfinite(values[i])) << extreme;
    }
  }
}

TEST_P(AttentionTest, ExtremeTokensStayWithTheQueriesThatSeeThem) {
  for (const KvType type : {KvType::int8, KvType::bf16}) {
    for (const int place : {40, 41}) expect_extremes_stay_with_their_token(GetParam(), type, place);
  }
}

TEST_P(AttentionTest, WrongBlocksAndRowsAreChecked) {
  const Shape shape;
  Attender attender(shape, GetParam(), 1, 4);
  const std::vector<int32_t> blocks = {0, 4};
  EXPECT_DEATH(attender.run(random_qkv(shape, 33, 1), std::vector<Segment>{{.num_rows = 33, .blocks = blocks}}),
               "block 4");
  EXPECT_DEATH(attender.run(random_qkv(shape, 65, 1), std::vector<Segment>{{.num_rows = 65, .blocks = blocks}}),
               "65 positions");
  EXPECT_DEATH(attender.run(random_qkv(shape, 3, 1), std::vector<Segment>{{.num_rows = 2, .blocks = blocks}}),
               "2 of 3 rows");
}

}  // namespace
}  // namespace echelon::cpu
