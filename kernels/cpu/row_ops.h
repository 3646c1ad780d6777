// Operations that take every row by itself: embedding, RMS norm, gates, the end of a reduction tree, softcap.
// Shapes and meaning: kernels/backend.h; formulas and bits: kernels/cpu/isa/ops_kernels.h. Rows (or pieces of rows,
// where the formula goes element by element) are shared among the threads.
#pragma once

#include <memory>
#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/activation.h"
#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/isa/op_kernels.h"
#include "kernels/cpu/thread_pool.h"

namespace echelon::cpu {

/// Reads rows from the file's own coding when asked.
class CpuEmbeddingTable final : public EmbeddingTable {
 public:
  explicit CpuEmbeddingTable(std::shared_ptr<const MatrixSource> source) : source_(std::move(source)) {}
  const MatrixSource& source() const { return *source_; }

 private:
  std::shared_ptr<const MatrixSource> source_;  ///< shared with the weights' owner
};

/// Holds some rows of floats for every thread; grows to the widest row seen. Used by one thread (the caller of the
/// pool).
class RowOps {
 public:
  RowOps(const OpKernels& kernels, ThreadPool& threads) : kernels_(kernels), threads_(threads) {}

  void embed(const CpuEmbeddingTable& table, std::span<const TokenId> tokens, float scale, Matrix out);
  void rms_norm(Matrix x, const float* weight, float epsilon, CpuActivation& out);
  void rms_norm(Matrix x, const float* weight, float epsilon, Matrix out);
  void gated_activation(Matrix x, Gate gate, CpuActivation& out);
  void finish_sum(std::span<const float* const> slots, int64_t stride, std::span<const int> finish_merges,
                  const float* norm, float epsilon, Matrix hidden, const float* next_norm, CpuActivation* next);
  void reduce_slots(std::span<const float* const> slots, int64_t stride, std::span<const int> finish_merges,
                    Matrix out);
  void softcap(Matrix x, float cap);

 private:
  template <class F>
  void for_rows(int64_t rows, int64_t floats_per_row, F&& f);
  template <class F>
  void for_tiles(int64_t rows, int64_t floats_per_row, F&& f);
  template <class F>
  void for_pieces(int64_t rows, int64_t cols, F&& f);
  void reserve_rows(int64_t cols);
  float* scratch_row(int part) { return scratch_.get<float>() + part * scratch_cols_; }

  const OpKernels& kernels_;
  ThreadPool& threads_;
  AlignedMemory scratch_;
  int64_t scratch_cols_ = 0;
};

}  // namespace echelon::cpu
