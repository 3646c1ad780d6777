// A backend that counts the seconds and calls of each operation of another one, for model_bench's table.
#pragma once

#include <array>
#include <chrono>
#include <string_view>
#include <utility>

#include "kernels/backend.h"

namespace echelon::bench {

/// All calls go to `inner`, which must outlive this.
class TimedBackend final : public Backend {
 public:
  enum Operation { kEmbed, kNorm, kProduct, kRope, kAttention, kGatedProduct, kGate, kSum, kSoftcap, kNumOperations };
  static constexpr std::array<std::string_view, kNumOperations> kNames = {
      "embed",           "norm + quantise",          "products", "rope + cache", "attention", "gate and up, quantise",
      "gate + quantise", "tree sum, residual, norm", "softcap"};
  struct Cost {
    double seconds = 0, macs = 0;  ///< macs: multiply-adds with weights
    int64_t calls = 0;
  };

  explicit TimedBackend(Backend& inner) : inner_(inner) {}
  const std::array<Cost, kNumOperations>& costs() const { return costs_; }
  void reset() { costs_ = {}; }

  std::string_view name() const override { return inner_.name(); }
  Compute compute() const override { return inner_.compute(); }
  std::unique_ptr<Buffer> allocate(size_t size_bytes) override { return inner_.allocate(size_bytes); }
  bool is_host() const override { return inner_.is_host(); }
  void copy_to_host(void* host, const void* device, size_t size) override { inner_.copy_to_host(host, device, size); }
  void copy_from_host(void* device, const void* host, size_t size) override {
    inner_.copy_from_host(device, host, size);
  }
  void synchronize() override { inner_.synchronize(); }
  int num_host_threads() const override { return inner_.num_host_threads(); }
  void run_on_host(int num_parts, const std::function<void(int)>& f) override { inner_.run_on_host(num_parts, f); }
  std::unique_ptr<PackedMatrix> pack(const PackPlan& plan) override { return inner_.pack(plan); }
  size_t packed_bytes(const Coding& coding, int64_t rows, int64_t cols) const override {
    return inner_.packed_bytes(coding, rows, cols);
  }
  std::unique_ptr<EmbeddingTable> make_embedding(std::shared_ptr<const MatrixSource> source) override {
    return inner_.make_embedding(std::move(source));
  }
  std::unique_ptr<RopeTable> make_rope(const RopePlan& plan) override { return inner_.make_rope(plan); }
  std::unique_ptr<Activation> make_activation(int64_t max_rows, int64_t cols) override {
    return inner_.make_activation(max_rows, cols);
  }
  size_t activation_bytes(int64_t max_rows, int64_t cols) const override {
    return inner_.activation_bytes(max_rows, cols);
  }

  void embed(const EmbeddingTable& table, std::span<const TokenId> tokens, float scale, Matrix out) override {
    time(kEmbed, [&] { inner_.embed(table, tokens, scale, out); });
  }
  void rms_norm(Matrix x, const float* weight, float epsilon, Activation& out) override {
    time(kNorm, [&] { inner_.rms_norm(x, weight, epsilon, out); });
  }
  void rms_norm(Matrix x, const float* weight, float epsilon, Matrix out) override {
    time(kNorm, [&] { inner_.rms_norm(x, weight, epsilon, out); });
  }
  void linear(const Activation& x, int64_t rows, const PackedMatrix& weight, const float* bias, Matrix out,
              int64_t slot_stride) override {
    time(kProduct, [&] { inner_.linear(x, rows, weight, bias, out, slot_stride); });
    count_macs(kProduct, rows, weight);
  }
  void rope_and_cache(Matrix qkv, std::span<const Segment> segments, const AttentionPlan& plan,
                      const KvCacheView& cache, int layer) override {
    time(kRope, [&] { inner_.rope_and_cache(qkv, segments, plan, cache, layer); });
  }
  void attention(Matrix qkv, std::span<const Segment> segments, const AttentionPlan& plan, const KvCacheView& cache,
                 int layer, Activation& out) override {
    time(kAttention, [&] { inner_.attention(qkv, segments, plan, cache, layer, out); });
  }
  void gated_activation(Matrix x, Gate gate, Activation& out) override {
    time(kGate, [&] { inner_.gated_activation(x, gate, out); });
  }
  void gated_linear(const Activation& x, int64_t rows, const PackedMatrix& weight, Gate gate,
                    Activation& out) override {
    time(kGatedProduct, [&] { inner_.gated_linear(x, rows, weight, gate, out); });
    count_macs(kGatedProduct, rows, weight);
  }
  void finish_sum(std::span<const float* const> slots, int64_t stride, std::span<const int> finish_merges,
                  const float* norm, float epsilon, Matrix hidden, NextNorm next) override {
    time(kSum, [&] { inner_.finish_sum(slots, stride, finish_merges, norm, epsilon, hidden, next); });
  }
  void reduce_slots(std::span<const float* const> slots, int64_t stride, std::span<const int> finish_merges,
                    Matrix out) override {
    time(kSum, [&] { inner_.reduce_slots(slots, stride, finish_merges, out); });
  }
  void softcap(Matrix x, float cap) override {
    time(kSoftcap, [&] { inner_.softcap(x, cap); });
  }

 private:
  void count_macs(Operation operation, int64_t rows, const PackedMatrix& weight) {
    costs_[operation].macs += static_cast<double>(rows * weight.rows()) * static_cast<double>(weight.cols());
  }
  template <class F>
  void time(Operation operation, F call) {
    const auto start = std::chrono::steady_clock::now();
    call();
    costs_[operation].seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++costs_[operation].calls;
  }

  Backend& inner_;
  std::array<Cost, kNumOperations> costs_;
};

}  // namespace echelon::bench
