// Activations of the CPU backend: rows quantised per 32 columns for the integer products, plain float32 rows for the
// others. Norms, gates and attention write rows; linear() (products.h) reads them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/isa/product_kernels.h"

namespace echelon::cpu {

/// What an activation keeps. Products with quantised weights read `int8` (Compute::int8), all others `floats`; with
/// Compute::int8 a file that has float matrices too needs `both`.
enum class ActivationForm : uint8_t { int8, floats, both };

class CpuActivation final : public Activation {
 public:
  /// max_rows >= 1, cols >= 0 (checked; 0: a rank without heads). `kernels` must outlive it.
  CpuActivation(int64_t max_rows, int64_t cols, ActivationForm form, const ProductKernels& kernels);

  /// Bytes one of these keeps: from the shape alone.
  static size_t size_bytes(int64_t max_rows, int64_t cols, ActivationForm form);

  /// Rows that will be written and read; 0 <= rows <= max_rows (checked). Contents are not kept.
  void set_rows(int64_t rows);

  /// Columns [first_col, first_col + count) of a row: first_col a multiple of 32, count a multiple of 32 unless the
  /// range ends at the last column. Safe from several threads for different (row, group of 32). The thread has the
  /// float environment set. Quantisation of a group, missing values zeros: m = max |x|; below 2^-119 scale and codes
  /// are 0 (the scale would be subnormal); else scale = m / 127, code = x * (127 / m), clamped to [-127, 127], rounded
  /// to nearest even. An infinity or a NaN becomes m (a NaN is the largest), and so spreads to every product with the
  /// group.
  void write_row(int64_t row, int64_t first_col, const float* values, int64_t count) {
    write_rows(row, 1, first_col, values, count, count);
  }

  /// The same of rows whose values lie `stride` floats apart. Whole tiles (rows 8 t to 8 t + 7) are quickest.
  void write_rows(int64_t first_row, int64_t num_rows, int64_t first_col, const float* values, int64_t stride,
                  int64_t count);

  int64_t max_rows() const { return max_rows_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t num_groups() const { return num_groups_; }
  bool has_int8() const { return form_ != ActivationForm::floats; }
  bool has_floats() const { return form_ != ActivationForm::int8; }

  /// Tile t of 8 rows: num_groups() groups. has_int8() only.
  const ActivationGroup* tile(int64_t t) const { return groups_.get<ActivationGroup>() + t * num_groups_; }
  const ActivationStarts* starts(int64_t t) const { return starts_.get<ActivationStarts>() + t * num_groups_; }
  /// has_floats() only. Rows lie float_stride() floats apart.
  const float* float_row(int64_t row) const { return floats_.get<float>() + row * float_stride_; }
  int64_t float_stride() const { return float_stride_; }

 private:
  friend class ActivationWriter;

  int64_t max_rows_, cols_, num_groups_, float_stride_, rows_ = 0;
  ActivationForm form_;
  const ProductKernels& kernels_;
  AlignedMemory groups_, starts_, floats_;
};

/// Writes pieces of rows as write_row() does, eight groups at a time, from wherever they lie: the values of a piece
/// stay there until the writer ends. Used by one thread.
class ActivationWriter {
 public:
  explicit ActivationWriter(CpuActivation& out) : out_(out) {}
  ~ActivationWriter();
  ActivationWriter(const ActivationWriter&) = delete;
  ActivationWriter& operator=(const ActivationWriter&) = delete;

  void write(int64_t row, int64_t first_col, const float* values, int64_t count) {
    write_rows(row, 1, first_col, values, count, count);
  }
  void write_rows(int64_t first_row, int64_t num_rows, int64_t first_col, const float* values, int64_t stride,
                  int64_t count);

 private:
  void add(int64_t row, int64_t group, const float* values);
  void flush();

  static constexpr int kMostGroups = 8;
  CpuActivation& out_;
  GroupToQuantize groups_[kMostGroups];
  int num_groups_ = 0;
};

}  // namespace echelon::cpu
