// Sharing of rows among threads around the kernels of one row.
#include "kernels/cpu/row_ops.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace echelon::cpu {
namespace {

constexpr int64_t kPieceCols = 1024;  ///< a multiple of kQuantGroup

/// A program of ReductionTree that leaves exactly one value.
void check_program(std::span<const float* const> slots, std::span<const int> merges) {
  ECHELON_CHECK(!slots.empty() && slots.size() == merges.size() && slots.size() <= kNumLeaves, "{} slots, {} merges",
                slots.size(), merges.size());
  int depth = 0;
  for (int count : merges) {
    ++depth;
    ECHELON_CHECK(count >= 0 && count < depth);
    depth -= count;
  }
  ECHELON_CHECK(depth == 1);
}

}  // namespace

/// f(row, part).
template <class F>
void RowOps::for_rows(int64_t rows, int64_t floats_per_row, F&& f) {
  const int parts = parts_for(threads_, rows, rows * floats_per_row);
  threads_.parallel(parts, [&](int part) {
    const Share share = share_of(rows, part, parts);
    for (int64_t r = share.first; r < share.end; ++r) f(r, part);
  });
}

/// f(first row, number of rows, part): the rows of a tile of activations together, unless there are too few for all
/// threads.
template <class F>
void RowOps::for_tiles(int64_t rows, int64_t floats_per_row, F&& f) {
  const int64_t in_tile = rows >= int64_t{kTileRows} * threads_.num_threads() ? kTileRows : 1;
  for_rows((rows + in_tile - 1) / in_tile, floats_per_row * in_tile, [&](int64_t tile, int part) {
    const int64_t first = tile * in_tile;
    f(first, std::min(in_tile, rows - first), part);
  });
}

/// f(row, first column, number of columns, part), pieces of kPieceCols columns.
template <class F>
void RowOps::for_pieces(int64_t rows, int64_t cols, F&& f) {
  const int64_t pieces = (cols + kPieceCols - 1) / kPieceCols, units = rows * pieces;
  const int parts = parts_for(threads_, units, rows * cols);
  threads_.parallel(parts, [&](int part) {
    const Share share = share_of(units, part, parts);
    for (int64_t unit = share.first; unit < share.end; ++unit) {
      const int64_t first = unit % pieces * kPieceCols;
      f(unit / pieces, first, std::min(kPieceCols, cols - first), part);
    }
  });
}

void RowOps::reserve_rows(int64_t cols) {
  if (cols <= scratch_cols_) return;
  scratch_cols_ = (cols + 31) / 32 * 32;
  scratch_ = AlignedMemory(sizeof(float) * static_cast<size_t>(scratch_cols_ * threads_.num_threads()));
}

void RowOps::embed(const CpuEmbeddingTable& table, std::span<const TokenId> tokens, float scale, Matrix out) {
  const MatrixSource& source = table.source();
  ECHELON_CHECK(out.rows == static_cast<int64_t>(tokens.size()) && out.cols == source.cols(), "[{}, {}] for {} tokens",
                out.rows, out.cols, tokens.size());
  for (TokenId token : tokens) ECHELON_CHECK(token >= 0 && token < source.rows(), "token {}", token);
  for_rows(out.rows, out.cols, [&](int64_t r, int) {
    source.read_floats(tokens[r], 0, {out.row(r), static_cast<size_t>(out.cols)});
    if (scale != 1.0f) kernels_.scale(out.row(r), out.cols, scale);
  });
}

void RowOps::rms_norm(Matrix x, const float* weight, float epsilon, CpuActivation& out) {
  ECHELON_CHECK(out.cols() == x.cols, "{} columns into {}", x.cols, out.cols());
  out.set_rows(x.rows);
  reserve_rows(x.cols * kTileRows);
  for_tiles(x.rows, x.cols, [&](int64_t first, int64_t num_rows, int part) {
    float* const normed = scratch_row(part);
    for (int64_t r = 0; r < num_rows; ++r) {
      kernels_.rms_norm(x.row(first + r), weight, x.cols, epsilon, normed + r * x.cols);
    }
    out.write_rows(first, num_rows, 0, normed, x.cols, x.cols);
  });
}

void RowOps::rms_norm(Matrix x, const float* weight, float epsilon, Matrix out) {
  ECHELON_CHECK(out.rows == x.rows && out.cols == x.cols, "[{}, {}] into [{}, {}]", x.rows, x.cols, out.rows, out.cols);
  for_rows(x.rows, x.cols, [&](int64_t r, int) { kernels_.rms_norm(x.row(r), weight, x.cols, epsilon, out.row(r)); });
}

void RowOps::gated_activation(Matrix x, Gate gate, CpuActivation& out) {
  const int64_t width = x.cols / 2;
  ECHELON_CHECK(out.cols() == width && x.cols % 2 == 0, "{} columns into {}", x.cols, out.cols());
  out.set_rows(x.rows);
  reserve_rows(kPieceCols);
  const auto kernel = gate == Gate::silu ? kernels_.gate_silu : kernels_.gate_gelu;
  for_pieces(x.rows, width, [&](int64_t r, int64_t first, int64_t count, int part) {
    kernel(x.row(r) + first, x.row(r) + width + first, kVirtualLanes, count, scratch_row(part));
    out.write_row(r, first, scratch_row(part), count);
  });
}

void RowOps::finish_sum(std::span<const float* const> slots, int64_t stride, std::span<const int> finish_merges,
                        const float* norm, float epsilon, Matrix hidden, const float* next_norm, CpuActivation* next) {
  check_program(slots, finish_merges);
  const int num_slots = static_cast<int>(slots.size());
  const int64_t cols = hidden.cols;
  if (next != nullptr) {
    ECHELON_CHECK(next->cols() == cols, "{} columns into {}", cols, next->cols());
    next->set_rows(hidden.rows);
  }
  reserve_rows(cols * kTileRows);
  for_tiles(hidden.rows, cols * (num_slots + 1), [&](int64_t first, int64_t num_rows, int part) {
    float* const normed = scratch_row(part);  // of the sum, then of the new residual stream
    for (int64_t r = first; r < first + num_rows; ++r) {
      const bool accumulate = norm == nullptr;
      float* const sum = accumulate ? hidden.row(r) : normed;
      kernels_.tree_sum(slots.data(), r * stride, finish_merges.data(), num_slots, cols, accumulate, sum);
      if (accumulate) continue;
      kernels_.rms_norm(sum, norm, cols, epsilon, sum);
      kernels_.add(hidden.row(r), sum, cols);
    }
    if (next == nullptr) return;
    for (int64_t r = 0; r < num_rows; ++r) {
      kernels_.rms_norm(hidden.row(first + r), next_norm, cols, epsilon, normed + r * cols);
    }
    next->write_rows(first, num_rows, 0, normed, cols, cols);
  });
}

void RowOps::reduce_slots(std::span<const float* const> slots, int64_t stride, std::span<const int> finish_merges,
                          Matrix out) {
  check_program(slots, finish_merges);
  const int num_slots = static_cast<int>(slots.size());
  for_rows(out.rows, out.cols * num_slots, [&](int64_t r, int) {
    kernels_.tree_sum(slots.data(), r * stride, finish_merges.data(), num_slots, out.cols, false, out.row(r));
  });
}

void RowOps::softcap(Matrix x, float cap) {
  ECHELON_CHECK(cap > 0, "softcap {}", cap);
  for_pieces(x.rows, x.cols,
             [&](int64_t r, int64_t first, int64_t count, int) { kernels_.softcap(x.row(r) + first, count, cap); });
}

}  // namespace echelon::cpu
