// Packing of weight matrices (products.h): blocks of 16 features in the layouts of kernels/cpu/isa/product_kernels.h.
// Start-up path: a source is read once, row by row, by all threads; each thread interleaves 16 rows at a time in its
// cache.
#include <algorithm>
#include <cstring>

#include "kernels/base/check.h"
#include "kernels/base/half.h"
#include "kernels/base/limits.h"
#include "kernels/cpu/products.h"

namespace echelon::cpu {
namespace {

constexpr int64_t kMaxPackedElements = int64_t{1} << 48;  ///< of one matrix; keeps every size below in 64 bits

/// What a layout keeps for every 16 features and `cols` columns.
struct Unit {
  bool quantized = true;
  int cols = kQuantGroup;  ///< 1 for floats
  int code_bytes = 0;      ///< of 16 x cols codes or floats
  int num_scales = 0;      ///< of one feature in one unit
  int scale_bytes = 0;     ///< of one scale
  bool has_minimum = false;
  int64_t bytes() const {
    return code_bytes + int64_t{kColumnBlock} * num_scales * scale_bytes * (has_minimum ? 2 : 1);
  }
};

Unit unit_of(WeightLayout layout) {
  switch (layout) {
    case WeightLayout::bf16:
    case WeightLayout::f16:
      return {.quantized = false, .cols = 1, .code_bytes = 2 * kColumnBlock};
    case WeightLayout::f32:
      return {.quantized = false, .cols = 1, .code_bytes = 4 * kColumnBlock};
    default:
      break;
  }
  const int index =
      static_cast<int>(layout);  // four of each kind: affine f16, affine f32, symmetric f16, symmetric f32
  return {.code_bytes = layout < WeightLayout::u8_affine_f16 ? 256 : 512,
          .num_scales = layout < WeightLayout::u8g16_affine_f16 ? 1 : 2,
          .scale_bytes = index % 2 == 0 ? 2 : 4,
          .has_minimum = index % 4 < 2};
}

int64_t block_bytes_of(WeightLayout layout, int64_t cols) {
  const Unit unit = unit_of(layout);
  return (cols + unit.cols - 1) / unit.cols * unit.bytes();
}

int64_t blocks_of(int64_t rows) { return (rows + kColumnBlock - 1) / kColumnBlock; }

static_assert(kMaxReductionDepth <= kMaxLeafDepth);

struct Program {
  int64_t cols = 0;
  int num_slots = 0;
};

/// Checks the leaves' program: it never underflows, fits the kernels' stack and leaves it empty.
Program check_leaves(const std::vector<ColumnLeaf>& leaves, bool quantized) {
  Program program;
  int depth = 0;
  for (const ColumnLeaf& leaf : leaves) {
    ECHELON_CHECK(leaf.num_cols >= 1 && leaf.num_cols <= kMaxPackedElements - program.cols, "a leaf of {} columns",
                  leaf.num_cols);
    ECHELON_CHECK(!quantized || leaf.num_cols % kQuantGroup == 0, "a leaf of {} columns cuts a group", leaf.num_cols);
    program.cols += leaf.num_cols;
    ++depth;
    ECHELON_CHECK(leaf.merges >= 0 && leaf.merges < depth, "{} merges of {} values", leaf.merges, depth);
    depth -= leaf.merges;
    if (leaf.slot >= 0) {
      ECHELON_CHECK(depth == 1 && leaf.slot == program.num_slots, "slot {} at depth {}", leaf.slot, depth);
      ++program.num_slots;
      depth = 0;
    }
    ECHELON_CHECK(depth <= kMaxLeafDepth, "the program needs a stack of {}", depth);
  }
  ECHELON_CHECK(depth == 0, "{} values without a slot", depth);
  return program;
}

void check_rows(const PackPlan& plan, const Coding& coding, int64_t cols) {
  ECHELON_CHECK(!plan.interleaved || (plan.rows.size() == 2 && plan.rows[0].num_rows == plan.rows[1].num_rows &&
                                      plan.rows[0].num_rows % kQuantGroup == 0 && plan.leaves.size() == 1),
                "{} row ranges to interleave", plan.rows.size());
  ECHELON_CHECK(coding.kind == Coding::Kind::floats || (plan.first_col % kQuantGroup == 0 && cols % kQuantGroup == 0),
                "columns {} + {} cuts a group", plan.first_col, cols);
  for (const RowRange& range : plan.rows) {
    ECHELON_CHECK(range.source && range.source->coding() == coding, "row ranges of different codings");
    ECHELON_CHECK(
        range.first_row >= 0 && range.num_rows >= 0 && range.num_rows <= range.source->rows() - range.first_row,
        "rows {} + {} of {}", range.first_row, range.num_rows, range.source->rows());
    ECHELON_CHECK(plan.first_col >= 0 && cols <= range.source->cols() - plan.first_col, "columns {} + {} of {}",
                  plan.first_col, cols, range.source->cols());
  }
}

/// Sixteen rows of a matrix, read and not yet interleaved. One per thread; rows beyond the matrix stay zero.
class BlockPacker {
 public:
  BlockPacker(const PackPlan& plan, const Coding& coding, WeightLayout layout, int64_t cols)
      : plan_(plan), coding_(coding), layout_(layout), unit_(unit_of(layout)), cols_(cols) {
    const size_t values = static_cast<size_t>(kColumnBlock * cols);
    if (unit_.quantized) {
      num_scales_ = cols / kQuantGroup * unit_.num_scales;
      codes_.resize(values);
      scales_.resize(static_cast<size_t>(kColumnBlock * num_scales_));
      minimums_.resize(scales_.size());
      shift_ = coding.kind == Coding::Kind::u4 && unit_.code_bytes == 512 && coding.zero == 8 ? 120 : 0;
    } else {
      floats_.resize(values);
      if (layout != WeightLayout::f32) halves_.resize(values);
    }
  }

  /// Packs rows [16 block, 16 block + 16) of the plan's rows.
  void pack(int64_t block, uint8_t* out) {
    for (int lane = 0; lane < kColumnBlock; ++lane) read(row_at(block, lane), lane);
    if (unit_.quantized) {
      interleave_codes(out);
    } else if (layout_ == WeightLayout::f32) {
      interleave(floats_.data(), reinterpret_cast<float*>(out));
    } else {
      interleave(halves_.data(), reinterpret_cast<uint16_t*>(out));
    }
  }

 private:
  /// Of the plan's rows one below the other.
  int64_t row_at(int64_t block, int lane) const {
    if (!plan_.interleaved) return block * kColumnBlock + lane;
    return block % 2 * plan_.rows[0].num_rows + block / 2 * kColumnBlock + lane;
  }

  void read(int64_t row, int lane) {
    for (const RowRange& range : plan_.rows) {
      if (row >= range.num_rows) {
        row -= range.num_rows;
        continue;
      }
      const size_t cols = static_cast<size_t>(cols_), scales = static_cast<size_t>(num_scales_);
      if (unit_.quantized) {
        uint8_t* const codes = codes_.data() + lane * cols_;
        range.source->read_quantized(range.first_row + row, plan_.first_col,
                                     {.codes = {codes, cols},
                                      .scales = {scales_.data() + lane * num_scales_, scales},
                                      .minimums = {minimums_.data() + lane * num_scales_, scales}});
        if (shift_ != 0) {
          for (size_t k = 0; k < cols; ++k) codes[k] = static_cast<uint8_t>(codes[k] + shift_);
        }
        return;
      }
      float* const floats = floats_.data() + lane * cols_;
      range.source->read_floats(range.first_row + row, plan_.first_col, {floats, cols});
      narrow(floats, halves_.data() + lane * cols_);
      return;
    }
    clear(lane);
  }

  void narrow(const float* floats, uint16_t* halves) const {
    if (layout_ == WeightLayout::bf16) {
      for (int64_t k = 0; k < cols_; ++k) halves[k] = float_to_bf16(floats[k]);
    } else if (layout_ == WeightLayout::f16) {
      for (int64_t k = 0; k < cols_; ++k) halves[k] = float_to_f16(floats[k]);
    }
  }

  void clear(int lane) {
    const auto zero_lane = [lane](auto& values, int64_t count) {
      if (!values.empty()) std::fill_n(values.begin() + lane * count, count, 0);
    };
    zero_lane(codes_, cols_);
    zero_lane(scales_, num_scales_);
    zero_lane(minimums_, num_scales_);
    zero_lane(floats_, cols_);
    zero_lane(halves_, cols_);
  }

  template <class T>
  void interleave(const T* rows, T* out) const {
    constexpr int64_t kStrip = 16;  // 16 x 16 values at a time: whole cache lines on both sides
    for (int64_t first = 0; first < cols_; first += kStrip) {
      const int64_t end = std::min(first + kStrip, cols_);
      for (int lane = 0; lane < kColumnBlock; ++lane) {
        for (int64_t k = first; k < end; ++k) out[k * kColumnBlock + lane] = rows[lane * cols_ + k];
      }
    }
  }

  void interleave_codes(uint8_t* out) const {
    const bool nibbles = unit_.code_bytes == 256;
    for (int64_t g = 0; g < cols_ / kQuantGroup; ++g, out += unit_.bytes()) {
      for (int lane = 0; lane < kColumnBlock; ++lane) {
        uint32_t quads[8];
        std::memcpy(quads, codes_.data() + lane * cols_ + g * kQuantGroup, sizeof quads);
        if (nibbles) {
          for (int j = 0; j < 4; ++j) quads[j] |= quads[4 + j] << 4;
        }
        for (int j = 0; j < (nibbles ? 4 : 8); ++j) std::memcpy(out + 64 * j + 4 * lane, &quads[j], sizeof quads[j]);
      }
      uint8_t* const scales = out + unit_.code_bytes;
      store_scales(scales_, g, scales);
      if (unit_.has_minimum) store_scales(minimums_, g, scales + kColumnBlock * unit_.num_scales * unit_.scale_bytes);
    }
  }

  void store_scales(const std::vector<float>& values, int64_t group, uint8_t* out) const {
    for (int s = 0; s < unit_.num_scales; ++s) {
      for (int lane = 0; lane < kColumnBlock; ++lane, out += unit_.scale_bytes) {
        const float value = values[static_cast<size_t>(lane * num_scales_ + group * unit_.num_scales + s)];
        const uint16_t half = float_to_f16(value);
        std::memcpy(out, unit_.scale_bytes == 2 ? static_cast<const void*>(&half) : &value,
                    static_cast<size_t>(unit_.scale_bytes));
      }
    }
  }

  const PackPlan& plan_;
  Coding coding_;
  WeightLayout layout_;
  Unit unit_;
  int64_t cols_, num_scales_ = 0;
  int shift_ = 0;
  std::vector<uint8_t> codes_;
  std::vector<float> scales_, minimums_, floats_;
  std::vector<uint16_t> halves_;
};

WeightLayout quantized_layout(const Coding& coding) {
  const bool nibbles = coding.kind == Coding::Kind::u4 && coding.group == 32;
  const bool symmetric = coding.zero != 0;
  ECHELON_CHECK(coding.group == 16 || coding.group == 32, "groups of {}", coding.group);
  ECHELON_CHECK(!symmetric || (coding.zero == (coding.kind == Coding::Kind::u4 ? 8 : 128) && !coding.has_minimum),
                "zero {} {} minimum", coding.zero, coding.has_minimum ? "with" : "without");
  const WeightLayout first = nibbles              ? WeightLayout::u4_affine_f16
                             : coding.group == 32 ? WeightLayout::u8_affine_f16
                                                  : WeightLayout::u8g16_affine_f16;
  return static_cast<WeightLayout>(static_cast<int>(first) + (symmetric ? 2 : 0) + (coding.scales_fit_f16 ? 0 : 1));
}

}  // namespace

WeightLayout weight_layout(const Coding& coding, Compute compute) {
  if (compute == Compute::bf16) return WeightLayout::bf16;
  if (coding.kind == Coding::Kind::floats) {
    switch (coding.float_kind) {
      case Coding::FloatKind::f32:
        return WeightLayout::f32;
      case Coding::FloatKind::f16:
        return WeightLayout::f16;
      case Coding::FloatKind::bf16:
        return WeightLayout::bf16;
    }
  }
  return compute == Compute::f32 ? WeightLayout::f32 : quantized_layout(coding);
}

size_t packed_bytes(const Coding& coding, Compute compute, int64_t rows, int64_t cols) {
  ECHELON_CHECK(rows >= 0 && cols >= 0 && rows <= kMaxPackedElements / std::max<int64_t>(cols, 1), "[{}, {}]", rows,
                cols);
  return static_cast<size_t>(blocks_of(rows) * block_bytes_of(weight_layout(coding, compute), cols));
}

int64_t CpuPackedMatrix::num_blocks() const { return blocks_of(rows_); }

std::unique_ptr<CpuPackedMatrix> pack_matrix(const PackPlan& plan, Compute compute, ChunkedMemory& memory,
                                             ThreadPool& threads) {
  ECHELON_CHECK(!plan.rows.empty() && plan.rows.front().source, "nothing to pack");
  const Coding coding = plan.rows.front().source->coding();
  const WeightLayout layout = weight_layout(coding, compute);
  const Program program = check_leaves(plan.leaves, unit_of(layout).quantized);
  check_rows(plan, coding, program.cols);

  std::unique_ptr<CpuPackedMatrix> matrix(new CpuPackedMatrix);
  for (const RowRange& range : plan.rows) matrix->rows_ += range.num_rows;
  matrix->cols_ = program.cols;
  matrix->num_slots_ = program.num_slots;
  matrix->layout_ = layout;
  matrix->interleaved_ = plan.interleaved;
  matrix->block_bytes_ = block_bytes_of(layout, program.cols);
  for (const ColumnLeaf& leaf : plan.leaves) {
    matrix->leaves_.push_back({.num_cols = leaf.num_cols, .merges = leaf.merges, .slot = leaf.slot});
  }
  matrix->data_ = memory.allocate(packed_bytes(coding, compute, matrix->rows_, matrix->cols_));

  const int64_t num_blocks = matrix->num_blocks();
  const int num_parts = static_cast<int>(std::min<int64_t>(threads.num_threads(), num_blocks));
  if (program.cols == 0 || num_parts == 0) return matrix;
  threads.parallel(num_parts, [&](int part) {
    BlockPacker packer(plan, coding, layout, program.cols);
    const Share share = share_of(num_blocks, part, num_parts);
    for (int64_t b = share.first; b < share.end; ++b) packer.pack(b, matrix->data_.get() + b * matrix->block_bytes_);
  });
  return matrix;
}

}  // namespace echelon::cpu
