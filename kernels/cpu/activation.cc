// activation.h: where rows go; the arithmetic of quantisation is in kernels/cpu/isa/products_kernels.h.
#include "kernels/cpu/activation.h"

#include <algorithm>
#include <cstring>

#include "kernels/base/check.h"
#include "kernels/base/limits.h"

namespace echelon::cpu {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 40;  ///< of one activation: keeps every size below in 64 bits

int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

/// Whole cache lines, and never a multiple of 4 KiB, so that 8 rows side by side fall on different sets of the cache.
int64_t float_stride_of(int64_t cols) {
  const int64_t stride = round_up(cols, 16);
  return stride % 1024 == 0 ? stride + 16 : stride;
}

int64_t groups_in(int64_t max_rows, int64_t cols) {
  return round_up(max_rows, kTileRows) / kTileRows * (round_up(cols, kQuantGroup) / kQuantGroup);
}

size_t floats_bytes(int64_t max_rows, int64_t cols) {
  return static_cast<size_t>(max_rows * float_stride_of(cols)) * sizeof(float);
}

}  // namespace

CpuActivation::CpuActivation(int64_t max_rows, int64_t cols, ActivationForm form, const ProductKernels& kernels)
    : max_rows_(max_rows),
      cols_(cols),
      num_groups_(round_up(cols, kQuantGroup) / kQuantGroup),
      float_stride_(float_stride_of(cols)),
      form_(form),
      kernels_(kernels) {
  ECHELON_CHECK(max_rows >= 1 && cols >= 0 && max_rows <= kMaxElements / std::max<int64_t>(cols, 1), "{} rows of {}",
                max_rows, cols);
  if (has_int8()) {
    const size_t num_groups = static_cast<size_t>(groups_in(max_rows, cols));
    groups_ = AlignedMemory(num_groups * sizeof(ActivationGroup));
    starts_ = AlignedMemory(num_groups * sizeof(ActivationStarts));
  }
  if (has_floats()) floats_ = AlignedMemory(floats_bytes(max_rows, cols));
}

size_t CpuActivation::size_bytes(int64_t max_rows, int64_t cols, ActivationForm form) {
  ECHELON_CHECK(max_rows >= 1 && cols >= 0 && max_rows <= kMaxElements / std::max<int64_t>(cols, 1), "{} rows of {}",
                max_rows, cols);
  constexpr size_t kGroupBytes = sizeof(ActivationGroup) + sizeof(ActivationStarts);
  return (form != ActivationForm::floats ? static_cast<size_t>(groups_in(max_rows, cols)) * kGroupBytes : 0) +
         (form != ActivationForm::int8 ? floats_bytes(max_rows, cols) : 0);
}

void CpuActivation::set_rows(int64_t rows) {
  ECHELON_CHECK(rows >= 0 && rows <= max_rows_, "{} rows, room for {}", rows, max_rows_);
  rows_ = rows;
}

void CpuActivation::write_rows(int64_t first_row, int64_t num_rows, int64_t first_col, const float* values,
                               int64_t stride, int64_t count) {
  ActivationWriter(*this).write_rows(first_row, num_rows, first_col, values, stride, count);
}

ActivationWriter::~ActivationWriter() { flush(); }

inline void ActivationWriter::flush() {
  if (num_groups_ > 0) out_.kernels_.quantize(groups_, num_groups_);
  num_groups_ = 0;
}

inline void ActivationWriter::add(int64_t row, int64_t group, const float* values) {
  const int64_t index = row / kTileRows * out_.num_groups_ + group;
  groups_[num_groups_] = {.values = values,
                          .group = out_.groups_.get<ActivationGroup>() + index,
                          .starts = out_.starts_.get<ActivationStarts>() + index,
                          .row = static_cast<int>(row % kTileRows)};
  if (++num_groups_ == kMostGroups) flush();
}

void ActivationWriter::write_rows(int64_t first_row, int64_t num_rows, int64_t first_col, const float* values,
                                  int64_t stride, int64_t count) {
  const int64_t cols = out_.cols_;
  ECHELON_CHECK(first_row >= 0 && num_rows >= 0 && num_rows <= out_.rows_ - first_row, "rows {} + {} of {}", first_row,
                num_rows, out_.rows_);
  ECHELON_CHECK(first_col >= 0 && count >= 0 && count <= cols - first_col && first_col % kQuantGroup == 0 &&
                    (count % kQuantGroup == 0 || first_col + count == cols),
                "columns {} + {} of {} cut a group", first_col, count, cols);
  if (out_.has_floats()) {
    for (int64_t r = 0; r < num_rows; ++r) {
      std::memcpy(out_.floats_.get<float>() + (first_row + r) * out_.float_stride_ + first_col, values + r * stride,
                  sizeof(float) * static_cast<size_t>(count));
    }
  }
  if (!out_.has_int8()) return;
  const int64_t first_group = first_col / kQuantGroup, num_groups = count / kQuantGroup;
  for (int64_t row = 0, end = 0; row < num_rows; row = end) {
    end = std::min(num_rows, (first_row + row) / kTileRows * kTileRows + kTileRows - first_row);
    if (end - row == kTileRows) {
      for (int64_t g = 0; g < num_groups; ++g) {
        for (int64_t r = row; r < end; ++r) add(first_row + r, first_group + g, values + r * stride + g * kQuantGroup);
      }
    } else {
      for (int64_t r = row; r < end; ++r) {
        for (int64_t g = 0; g < num_groups; ++g) {
          add(first_row + r, first_group + g, values + r * stride + g * kQuantGroup);
        }
      }
    }
  }
  const int64_t rest = count % kQuantGroup;
  if (rest == 0) return;
  for (int64_t r = 0; r < num_rows; ++r) {
    float padded[kQuantGroup] = {};
    std::copy_n(values + r * stride + count - rest, rest, padded);
    add(first_row + r, first_group + num_groups, padded);
    flush();
  }
}

}  // namespace echelon::cpu
