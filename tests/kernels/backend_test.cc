// The CPU backend as a whole: which kernels it chooses, its memory, and a small two-layer model whose bits must not
// depend on instruction set, threads or the cut of the prompt.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/base/limits.h"
#include "tests/kernels/op_test_support.h"

namespace echelon::cpu {
namespace {

TEST(CpuIsaTest, NamesChooseAndAutoIsTheBest) {
  EXPECT_EQ(best_cpu_isa(), available_isas().back());
  EXPECT_EQ(parse_cpu_isa("auto"), best_cpu_isa());
  for (CpuIsa isa : kAllIsas) {
    if (has_isa(isa)) {
      EXPECT_EQ(parse_cpu_isa(to_string(isa)), isa);
      EXPECT_EQ(make_cpu_backend({.isa = isa})->name(), to_string(isa));
    } else {
      EXPECT_THROW(parse_cpu_isa(to_string(isa)), Error);
      EXPECT_THROW(make_cpu_backend({.isa = isa}), Error);
    }
  }
}

TEST(CpuIsaTest, AnUnknownNameIsAnErrorThatListsTheNames) {
  try {
    parse_cpu_isa("sse9");
    FAIL() << "sse9 was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.part(), Part::kernels);
    EXPECT_NE(std::string(error.what()).find("sse9"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("vnni or bf16"), std::string::npos);
  }
}

TEST(CpuBackendTest, BuffersAreZeroedAlignedAndCopied) {
  const auto device = make_cpu_backend({});
  EXPECT_TRUE(device->is_host());
  for (size_t size : {size_t{1}, size_t{1000}, size_t{5} << 20}) {
    const auto buffer = device->allocate(size);
    EXPECT_EQ(buffer->size_bytes(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
    for (size_t i = 0; i < size; ++i) ASSERT_EQ(buffer->data()[i], std::byte{0});
    const char text[] = "x";
    device->copy_from_host(buffer->data(), text, 1);
    char back = 0;
    device->copy_to_host(&back, buffer->data(), 1);
    device->synchronize();
    EXPECT_EQ(back, 'x');
  }
  EXPECT_EQ(device->allocate(0)->size_bytes(), 0u);
}

/// Random weights: plain floats, or codes of 4 bits with scales and minimums.
class RandomMatrix final : public MatrixSource {
 public:
  RandomMatrix(int64_t rows, int64_t cols, bool quantized, uint64_t seed)
      : rows_(rows), cols_(cols), quantized_(quantized), values_(rows * cols) {
    fill_normal(values_, seed, 1.0f / std::sqrt(static_cast<float>(cols)));
  }
  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  Coding coding() const override {
    if (!quantized_) return {};
    return {.kind = Coding::Kind::u4, .group = 32, .has_minimum = true};
  }
  void read_floats(int64_t row, int64_t first_col, std::span<float> out) const override {
    for (size_t i = 0; i < out.size(); ++i) {
      const int64_t col = first_col + static_cast<int64_t>(i);
      out[i] = quantized_ ? scale(row, col) * static_cast<float>(code(row, col)) + minimum(row, col) : value(row, col);
    }
  }
  void read_quantized(int64_t row, int64_t first_col, QuantizedRow out) const override {
    for (size_t i = 0; i < out.codes.size(); ++i) {
      const int64_t col = first_col + static_cast<int64_t>(i);
      out.codes[i] = code(row, col);
      out.scales[i / 32] = scale(row, col);
      out.minimums[i / 32] = minimum(row, col);
    }
  }

 private:
  float value(int64_t row, int64_t col) const { return values_[row * cols_ + col]; }
  float scale(int64_t row, int64_t col) const { return std::fabs(value(row, col / 32 * 32)) * 0.25f; }
  float minimum(int64_t row, int64_t col) const { return -7.5f * scale(row, col); }
  uint8_t code(int64_t row, int64_t col) const {
    return static_cast<uint8_t>(static_cast<int>(std::fabs(value(row, col)) * 1e4f) % 16);
  }

  int64_t rows_, cols_;
  bool quantized_;
  std::vector<float> values_;
};

/// Two layers: 96 hidden, 3 query heads and 1 KV head of 32, an MLP of 192, 100 tokens. All operations of the
/// interface.
class TinyModel {
 public:
  static constexpr int kHidden = 96, kHeads = 3, kDim = 32, kMlp = 192, kVocab = 100, kLayers = 2;
  static constexpr int kQkv = (kHeads + 2) * kDim;

  TinyModel(const CpuBackendOptions& options, bool quantized, int max_rows) : device_(make_cpu_backend(options)) {
    const auto pack = [&](int64_t rows, int64_t cols, uint64_t seed, int num_leaves) {
      const RandomMatrix source(rows, cols, quantized, seed);
      PackPlan plan{.rows = {{.source = &source, .num_rows = rows}}};
      for (int leaf = 0; leaf < num_leaves; ++leaf) {
        plan.leaves.push_back({.num_cols = cols / num_leaves, .merges = leaf > 0 ? 1 : 0});
      }
      plan.leaves.back().slot = 0;
      return device_->pack(plan);
    };
    for (int layer = 0; layer < kLayers; ++layer) {
      qkv_.push_back(pack(kQkv, kHidden, 10 + layer, 1));
      output_.push_back(pack(kHidden, kHeads * kDim, 20 + layer, 3));
      up_.push_back(pack(2 * kMlp, kHidden, 30 + layer, 1));
      down_.push_back(pack(kHidden, kMlp, 40 + layer, 3));
    }
    head_ = pack(kVocab, kHidden, 50, 1);
    embedding_ = device_->make_embedding(std::make_shared<RandomMatrix>(kVocab, kHidden, quantized, 60));
    rope_ = device_->make_rope({.rotary_dim = kDim, .max_positions = 512});
    fill_normal(norm_, 70);
    cache_ = {.type = options.compute == Compute::f32 ? KvType::f32 : KvType::bf16,
              .num_blocks = 16,
              .num_layers = kLayers,
              .num_kv_heads = 1,
              .head_dim = kDim};
    memory_ = device_->allocate(static_cast<size_t>(cache_.block_bytes() * cache_.num_blocks));
    cache_.data = memory_->data();
    x_ = device_->make_activation(max_rows, kHidden);
    heads_ = device_->make_activation(max_rows, kHeads * kDim);
    mlp_ = device_->make_activation(max_rows, kMlp);
    plan_ = {.num_heads = kHeads,
             .num_kv_heads = 1,
             .head_dim = kDim,
             .kv_head_of_head = {0, 0, 0},
             .scale = 0.17f,
             .window = 70,
             .softcap = 30,
             .q_norm = norm_.data(),
             .k_norm = norm_.data(),
             .norm_epsilon = 1e-6f,
             .rope_style = RopeStyle::halves,
             .rope = rope_.get()};
  }

  /// Logits of all rows.
  std::vector<float> forward(std::span<const TokenId> tokens, int first_position, std::span<const int32_t> blocks) {
    const int64_t rows = std::ssize(tokens);
    TestMatrix hidden(rows, kHidden), qkv(rows, kQkv), sum(rows, kHidden), up(rows, 2 * kMlp), logits(rows, kVocab);
    const Segment segment{.num_rows = static_cast<int>(rows), .first_position = first_position, .blocks = blocks};
    const std::vector<int> merges = {0};
    const float* slots[] = {sum.values.data()};
    device_->embed(*embedding_, tokens, 9.8f, hidden);
    for (int layer = 0; layer < kLayers; ++layer) {
      device_->rms_norm(hidden, norm_.data(), 1e-6f, *x_);
      device_->linear(*x_, rows, *qkv_[layer], norm_.data(), qkv, 0);
      device_->rope_and_cache(qkv, {&segment, 1}, plan_, cache_, layer);
      device_->attention(qkv, {&segment, 1}, plan_, cache_, layer, *heads_);
      device_->linear(*heads_, rows, *output_[layer], nullptr, sum, 0);
      device_->finish_sum(slots, kHidden, merges, layer == 0 ? nullptr : norm_.data(), 1e-6f, hidden,
                          {.weight = norm_.data(), .out = x_.get()});
      device_->linear(*x_, rows, *up_[layer], nullptr, up, 0);
      device_->gated_activation(up, layer == 0 ? Gate::silu : Gate::gelu_tanh, *mlp_);
      device_->linear(*mlp_, rows, *down_[layer], nullptr, sum, 0);
      device_->finish_sum(slots, kHidden, merges, nullptr, 0, hidden, {});
    }
    device_->rms_norm(hidden, norm_.data(), 1e-6f, *x_);
    device_->linear(*x_, rows, *head_, nullptr, logits, 0);
    device_->softcap(logits, 30.0f);
    return logits.values;
  }

 private:
  std::unique_ptr<Backend> device_;
  std::vector<std::unique_ptr<PackedMatrix>> qkv_, output_, up_, down_;
  std::unique_ptr<PackedMatrix> head_;
  std::unique_ptr<EmbeddingTable> embedding_;
  std::unique_ptr<RopeTable> rope_;
  std::vector<float> norm_ = std::vector<float>(kQkv);
  KvCacheView cache_;
  std::unique_ptr<Buffer> memory_;
  std::unique_ptr<Activation> x_, heads_, mlp_;
  AttentionPlan plan_;
};

class TinyModelTest : public IsaTest {};
INSTANTIATE_TEST_SUITE_P(Isa, TinyModelTest, testing::ValuesIn(kAllIsas), isa_name);

TEST_P(TinyModelTest, LogitsHaveTheSameBitsHoweverTheyAreComputed) {
  constexpr int kTokens = 300;
  std::vector<TokenId> tokens(kTokens);
  for (int i = 0; i < kTokens; ++i) tokens[i] = i * 37 % TinyModel::kVocab;
  const std::vector<int32_t> blocks = {3, 1, 15, 0, 7, 8, 2, 9, 14, 4};
  for (bool quantized : {false, true}) {
    for (Compute compute : {Compute::int8, Compute::bf16, Compute::f32}) {
      TinyModel reference({.compute = compute, .num_threads = 1, .isa = CpuIsa::portable}, quantized, kTokens);
      const std::vector<float> expected = reference.forward(tokens, 0, blocks);
      for (float logit : expected) ASSERT_TRUE(std::isfinite(logit));
      EXPECT_NE(expected.front(), expected.back());
      for (const auto& [num_threads, chunk] : {std::pair{1, kTokens}, {2, 48}, {3, 1}}) {
        TinyModel model({.compute = compute, .num_threads = num_threads, .isa = GetParam()}, quantized, chunk);
        std::vector<float> logits;
        for (int first = 0; first < kTokens; first += chunk) {
          const std::span part = std::span(tokens).subspan(first, std::min(chunk, kTokens - first));
          const std::vector<float> values = model.forward(part, first, blocks);
          logits.insert(logits.end(), values.begin(), values.end());
        }
        EXPECT_EQ(num_different(logits, expected), 0)
            << "compute " << static_cast<int>(compute) << ", " << num_threads << " threads, chunks of " << chunk;
      }
    }
  }
}

}  // namespace
}  // namespace echelon::cpu
