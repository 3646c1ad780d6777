// Hands each operation of the interface to its file, with the casts from the opaque types in one place.
#include "kernels/cpu/cpu_backend.h"

#include <fmt/format.h>

#include <cstring>
#include <thread>

#include "kernels/base/check.h"
#include "kernels/base/error.h"
#include "kernels/cpu/cpu_isa.h"
#include "kernels/cpu/rope.h"

namespace echelon {
namespace cpu {
namespace {

class HostBuffer final : public Buffer {
 public:
  explicit HostBuffer(size_t size_bytes) : memory_(size_bytes) {}
  std::byte* data() override { return memory_.data(); }
  size_t size_bytes() const override { return memory_.size_bytes(); }

 private:
  AlignedMemory memory_;
};

CpuActivation& to_cpu(Activation& activation) { return static_cast<CpuActivation&>(activation); }

CpuIsa checked(CpuIsa isa) {
  if (!has_isa(isa)) throw Error(Part::kernels, fmt::format("this processor lacks {}", to_string(isa)));
  return isa;
}

/// Threads that outnumber the processors of this process take them from each other while they spin.
ThreadPool::Waiting waiting(int num_threads) {
  const unsigned processors = std::thread::hardware_concurrency();
  return static_cast<unsigned>(num_threads) > processors ? ThreadPool::Waiting::sleep : ThreadPool::Waiting::spin;
}

}  // namespace

CpuBackend::CpuBackend(const CpuBackendOptions& options)
    : isa_(checked(options.isa)),
      compute_(options.compute),
      op_kernels_(op_kernels(isa_)),
      product_kernels_(product_kernels(isa_)),
      threads_(options.num_threads, waiting(options.num_threads)),
      row_ops_(op_kernels_, threads_),
      attention_(op_kernels_, threads_) {}

std::unique_ptr<Buffer> CpuBackend::allocate(size_t size_bytes) { return std::make_unique<HostBuffer>(size_bytes); }

void CpuBackend::copy_to_host(void* host, const void* device, size_t size_bytes) {
  if (size_bytes > 0) std::memcpy(host, device, size_bytes);
}

void CpuBackend::copy_from_host(void* device, const void* host, size_t size_bytes) {
  if (size_bytes > 0) std::memcpy(device, host, size_bytes);
}

void CpuBackend::run_on_host(int num_parts, const std::function<void(int)>& f) { threads_.parallel(num_parts, f); }

std::unique_ptr<PackedMatrix> CpuBackend::pack(const PackPlan& plan) {
  std::unique_ptr<CpuPackedMatrix> packed = pack_matrix(plan, compute_, weight_memory_, threads_);
  has_float_weights_ = has_float_weights_ || !packed->is_quantized();
  return packed;
}

size_t CpuBackend::packed_bytes(const Coding& coding, int64_t rows, int64_t cols) const {
  return cpu::packed_bytes(coding, compute_, rows, cols);
}

std::unique_ptr<EmbeddingTable> CpuBackend::make_embedding(std::shared_ptr<const MatrixSource> source) {
  ECHELON_CHECK(source != nullptr);
  return std::make_unique<CpuEmbeddingTable>(std::move(source));
}

std::unique_ptr<RopeTable> CpuBackend::make_rope(const RopePlan& plan) {
  return std::make_unique<CpuRopeTable>(plan, threads_);
}

std::unique_ptr<Activation> CpuBackend::make_activation(int64_t max_rows, int64_t cols) {
  const ActivationForm form = compute_ != Compute::int8 ? ActivationForm::floats
                              : has_float_weights_      ? ActivationForm::both
                                                        : ActivationForm::int8;
  return std::make_unique<CpuActivation>(max_rows, cols, form, product_kernels_);
}

size_t CpuBackend::activation_bytes(int64_t max_rows, int64_t cols) const {
  return CpuActivation::size_bytes(max_rows, cols,
                                   compute_ == Compute::int8 ? ActivationForm::both : ActivationForm::floats);
}

void CpuBackend::embed(const EmbeddingTable& table, std::span<const TokenId> tokens, float scale, Matrix out) {
  row_ops_.embed(static_cast<const CpuEmbeddingTable&>(table), tokens, scale, out);
}

void CpuBackend::rms_norm(Matrix x, const float* weight, float epsilon, Activation& out) {
  row_ops_.rms_norm(x, weight, epsilon, to_cpu(out));
}

void CpuBackend::rms_norm(Matrix x, const float* weight, float epsilon, Matrix out) {
  row_ops_.rms_norm(x, weight, epsilon, out);
}

void CpuBackend::linear(const Activation& x, int64_t rows, const PackedMatrix& weight, const float* bias, Matrix out,
                        int64_t slot_stride) {
  cpu::linear(product_kernels_, threads_, static_cast<const CpuActivation&>(x), rows,
              static_cast<const CpuPackedMatrix&>(weight), bias, out, slot_stride);
}

void CpuBackend::rope_and_cache(Matrix qkv, std::span<const Segment> segments, const AttentionPlan& plan,
                                const KvCacheView& cache, int layer) {
  cpu::rope_and_cache(op_kernels_, threads_, qkv, segments, plan, cache, layer);
}

void CpuBackend::attention(Matrix qkv, std::span<const Segment> segments, const AttentionPlan& plan,
                           const KvCacheView& cache, int layer, Activation& out) {
  attention_.run(qkv, segments, plan, cache, layer, to_cpu(out));
}

void CpuBackend::gated_activation(Matrix x, Gate gate, Activation& out) {
  row_ops_.gated_activation(x, gate, to_cpu(out));
}

void CpuBackend::gated_linear(const Activation& x, int64_t rows, const PackedMatrix& weight, Gate gate,
                              Activation& out) {
  cpu::gated_linear(product_kernels_, threads_, static_cast<const CpuActivation&>(x), rows,
                    static_cast<const CpuPackedMatrix&>(weight),
                    gate == Gate::silu ? op_kernels_.gate_silu : op_kernels_.gate_gelu, gate_scratch_, to_cpu(out));
}

void CpuBackend::finish_sum(std::span<const float* const> slots, int64_t stride, std::span<const int> finish_merges,
                            const float* norm, float epsilon, Matrix hidden, NextNorm next) {
  row_ops_.finish_sum(slots, stride, finish_merges, norm, epsilon, hidden, next.weight,
                      static_cast<CpuActivation*>(next.out));
}

void CpuBackend::reduce_slots(std::span<const float* const> slots, int64_t stride, std::span<const int> finish_merges,
                              Matrix out) {
  row_ops_.reduce_slots(slots, stride, finish_merges, out);
}

void CpuBackend::softcap(Matrix x, float cap) { row_ops_.softcap(x, cap); }

}  // namespace cpu

KvType default_kv_type(Compute compute) { return compute == Compute::f32 ? KvType::f32 : KvType::bf16; }

std::unique_ptr<Backend> make_cpu_backend(const CpuBackendOptions& options) {
  return std::make_unique<cpu::CpuBackend>(options);
}

}  // namespace echelon
