// Products with weights on the CPU: packing a matrix, and linear(). The arithmetic and its one order of additions are
// defined at the head of kernels/cpu/isa/products_kernels.h; no bit depends on rows, threads or the instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/activation.h"
#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/isa/op_kernels.h"
#include "kernels/cpu/isa/product_kernels.h"
#include "kernels/cpu/thread_pool.h"

namespace echelon::cpu {

/// The kernels of an instruction set. The caller knows that this machine has it.
const ProductKernels& product_kernels(CpuIsa isa);

/// Which layout pack_matrix() keeps. int8: quantised codings as they are, floats as the file has them. bf16: everything
/// rounded to bf16. f32: floats as the file has them (widening is exact), quantised values as float32.
WeightLayout weight_layout(const Coding& coding, Compute compute);

/// Bytes that pack_matrix() keeps for [rows, cols]: rows are rounded up to blocks of 16.
size_t packed_bytes(const Coding& coding, Compute compute, int64_t rows, int64_t cols);

/// Features in blocks of 16, each block one linear stream. Immutable; its memory is shared with the ChunkedMemory it
/// came from.
class CpuPackedMatrix final : public PackedMatrix {
 public:
  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  int num_slots() const override { return num_slots_; }
  size_t size_bytes() const override { return static_cast<size_t>(num_blocks() * block_bytes_); }

  WeightLayout layout() const { return layout_; }
  bool is_quantized() const { return layout_ < WeightLayout::bf16; }
  int64_t num_blocks() const;
  int64_t block_bytes() const { return block_bytes_; }
  const uint8_t* block(int64_t b) const { return data_.get() + b * block_bytes_; }
  const std::vector<LeafStep>& leaves() const { return leaves_; }
  /// Blocks of the first and of the second row range in turn.
  bool is_interleaved() const { return interleaved_; }

 private:
  friend std::unique_ptr<CpuPackedMatrix> pack_matrix(const PackPlan& plan, Compute compute, ChunkedMemory& memory,
                                                      ThreadPool& threads);
  CpuPackedMatrix() = default;

  int64_t rows_ = 0, cols_ = 0, block_bytes_ = 0;
  int num_slots_ = 0;
  WeightLayout layout_ = WeightLayout::f32;
  bool interleaved_ = false;
  std::vector<LeafStep> leaves_;
  std::shared_ptr<uint8_t[]> data_;
};

/// Packs what the plan names: all row ranges of one coding, leaves of at least one column whose program empties its
/// stack into slots 0, 1, ... in order (checked). Quantised products (Compute::int8) want first_col and the leaves at
/// multiples of 32. A quantised coding with a zero other than 0 (affine) or 8 / 128 (symmetric, no minimum) is refused
/// by a check. Reads the sources from all threads.
std::unique_ptr<CpuPackedMatrix> pack_matrix(const PackPlan& plan, Compute compute, ChunkedMemory& memory,
                                             ThreadPool& threads);

/// Backend::linear. `x` holds at least `rows` rows of weight.cols() columns in the form the weight needs (checked).
/// Threads share the blocks of features in fixed contiguous parts. Weights are read once for every ~256 KiB of
/// activations.
void linear(const ProductKernels& kernels, ThreadPool& threads, const CpuActivation& x, int64_t rows,
            const CpuPackedMatrix& weight, const float* bias, Matrix out, int64_t slot_stride);

/// Backend::gated_linear. `gate` is a kernel of OpKernels. Threads share the features as in linear(); each gates and
/// writes the columns whose products it made, a few at a time, by way of `scratch`, which grows to the largest call.
void gated_linear(const ProductKernels& kernels, ThreadPool& threads, const CpuActivation& x, int64_t rows,
                  const CpuPackedMatrix& weight, decltype(OpKernels::gate_silu) gate, AlignedMemory& scratch,
                  CpuActivation& out);

}  // namespace echelon::cpu
