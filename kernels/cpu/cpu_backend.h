// The CPU as a Backend (kernels/backend.h): host memory, one pool of threads, the kernels of one instruction set.
#pragma once

#include <memory>
#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/activation.h"
#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/isa/op_kernels.h"
#include "kernels/cpu/products.h"
#include "kernels/cpu/row_ops.h"
#include "kernels/cpu/thread_pool.h"

namespace echelon::cpu {

/// Used by one thread at a time. Make activations after all weights are packed: with Compute::int8 they keep float
/// rows, too, once a matrix of plain floats has been packed.
class CpuBackend final : public Backend {
 public:
  /// Throws Error(Part::kernels) when this machine lacks the instruction set or cannot start the threads.
  explicit CpuBackend(const CpuBackendOptions& options);

  std::string_view name() const override { return to_string(isa_); }
  Compute compute() const override { return compute_; }

  std::unique_ptr<Buffer> allocate(size_t size_bytes) override;
  bool is_host() const override { return true; }
  void copy_to_host(void* host, const void* device, size_t size_bytes) override;
  void copy_from_host(void* device, const void* host, size_t size_bytes) override;
  void synchronize() override {}  // every call returns when its work is done
  int num_host_threads() const override { return threads_.num_threads(); }
  void run_on_host(int num_parts, const std::function<void(int)>& f) override;

  std::unique_ptr<PackedMatrix> pack(const PackPlan& plan) override;
  size_t packed_bytes(const Coding& coding, int64_t rows, int64_t cols) const override;
  std::unique_ptr<EmbeddingTable> make_embedding(std::shared_ptr<const MatrixSource> source) override;
  std::unique_ptr<RopeTable> make_rope(const RopePlan& plan) override;
  std::unique_ptr<Activation> make_activation(int64_t max_rows, int64_t cols) override;
  /// With Compute::int8 an upper bound: as if float matrices had been packed.
  size_t activation_bytes(int64_t max_rows, int64_t cols) const override;

  void embed(const EmbeddingTable& table, std::span<const TokenId> tokens, float scale, Matrix out) override;
  void rms_norm(Matrix x, const float* weight, float epsilon, Activation& out) override;
  void rms_norm(Matrix x, const float* weight, float epsilon, Matrix out) override;
  void linear(const Activation& x, int64_t rows, const PackedMatrix& weight, const float* bias, Matrix out,
              int64_t slot_stride) override;
  void rope_and_cache(Matrix qkv, std::span<const Segment> segments, const AttentionPlan& plan,
                      const KvCacheView& cache, int layer) override;
  void attention(Matrix qkv, std::span<const Segment> segments, const AttentionPlan& plan, const KvCacheView& cache,
                 int layer, Activation& out) override;
  void gated_activation(Matrix x, Gate gate, Activation& out) override;
  void gated_linear(const Activation& x, int64_t rows, const PackedMatrix& weight, Gate gate, Activation& out) override;
  void finish_sum(std::span<const float* const> slots, int64_t stride, std::span<const int> finish_merges,
                  const float* norm, float epsilon, Matrix hidden, NextNorm next) override;
  void reduce_slots(std::span<const float* const> slots, int64_t stride, std::span<const int> finish_merges,
                    Matrix out) override;
  void softcap(Matrix x, float cap) override;

 private:
  CpuIsa isa_;
  Compute compute_;
  const OpKernels& op_kernels_;
  const ProductKernels& product_kernels_;
  ThreadPool threads_;
  ChunkedMemory weight_memory_;
  RowOps row_ops_;
  Attention attention_;
  AlignedMemory gate_scratch_;      ///< of gated_linear()
  bool has_float_weights_ = false;  ///< with Compute::int8: some products read float rows
};

}  // namespace echelon::cpu
