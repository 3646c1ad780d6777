// products.h: the choice of kernels, and the loops over blocks, rows and threads.
#include "kernels/cpu/products.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/base/limits.h"
#include "kernels/cpu/cpu_isa.h"

namespace echelon::cpu {

namespace portable {
const ProductKernels& product_kernels();
}
namespace avx2 {
const ProductKernels& product_kernels();
}
namespace avx512 {
const ProductKernels& product_kernels();
}
namespace vnni {
const ProductKernels& product_kernels();
}

const ProductKernels& product_kernels(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::portable:
      return portable::product_kernels();
    case CpuIsa::avx2:
      return avx2::product_kernels();
    case CpuIsa::avx512:
      return avx512::product_kernels();
    case CpuIsa::avx512_vnni:
    case CpuIsa::avx512_bf16:  // no bf16 dots here
      return vnni::product_kernels();
  }
  check_failed("isa", __FILE__, __LINE__, "unknown instruction set");
}

namespace {

/// Rows that pass over a block before the next block: their activations stay in L2 (1 MiB on Zen 4, 2 on Intel) beside
/// it.
int64_t rows_in_panel(int64_t bytes_per_row) {
  constexpr int64_t kPanelBytes = 256 << 10;
  constexpr int64_t kMinRows = 4 * kTileRows;  // fewer would read the weights too often
  return std::max(kMinRows, kPanelBytes / bytes_per_row / kTileRows * kTileRows);
}

/// What a product with these activations and weights has in common for all its tasks.
struct Product {
  const CpuActivation& x;
  const CpuPackedMatrix& weight;
  bool quantized = weight.is_quantized();
  int64_t stride = quantized ? x.num_groups() : x.float_stride();
  bool into_l1 = prefers_prefetch_into_l1();

  void check(int64_t rows) const {
    ECHELON_CHECK(rows >= 0 && rows <= x.rows() && x.cols() == weight.cols(), "{} rows of {}, columns {} for {}", rows,
                  x.rows(), x.cols(), weight.cols());
    ECHELON_CHECK(quantized ? x.has_int8() : x.has_floats(), "the activation lacks the form the weight needs");
  }

  int64_t panel_rows() const {
    const int64_t row_bytes =
        quantized ? static_cast<int64_t>(sizeof(ActivationGroup)) / kTileRows : static_cast<int64_t>(sizeof(float));
    return rows_in_panel(stride * row_bytes);
  }

  /// Rows from first_row, a multiple of kTileRows, times blocks [first, end). `out`: where the first row's value of the
  /// first feature goes.
  ProductTask task(int64_t first, int64_t end, int64_t first_row, int64_t num_rows, float* out,
                   int64_t out_stride) const {
    return {.weight = weight.block(first),
            .block_bytes = weight.block_bytes(),
            .num_blocks = end - first,
            .activation = quantized ? static_cast<const void*>(x.tile(first_row / kTileRows)) : x.float_row(first_row),
            .starts = quantized ? x.starts(first_row / kTileRows) : nullptr,
            .activation_stride = stride,
            .num_rows = num_rows,
            .leaves = weight.leaves().data(),
            .num_leaves = static_cast<int64_t>(weight.leaves().size()),
            .out = out,
            .out_stride = out_stride,
            .slot_stride = 0,
            .bias = nullptr,
            .num_features = std::min(end * kColumnBlock, weight.rows()) - first * kColumnBlock,
            .prefetch_into_l1 = into_l1};
  }
};

/// How rows and units of features are divided among threads. By rows as far as each part has enough of them: a thread
/// then finds in its own caches what it wrote itself (norms and sums are divided by rows, too), which matters where
/// threads share no L3, and there are parts for all threads when features are few. The rest by features: every part of
/// the rows reads the weights, and has to have enough to do with them.
class Division {
 public:
  struct Part {
    Share rows, units;
  };

  Division(int64_t rows, int64_t num_units, int num_threads) : rows_(rows), num_units_(num_units) {
    constexpr int64_t kRowsOfPart = 128;
    row_parts_ = num_threads;
    while (row_parts_ > 1 && (num_threads % row_parts_ != 0 || rows < row_parts_ * kRowsOfPart)) --row_parts_;
    unit_parts_ = static_cast<int>(std::min<int64_t>(num_threads / row_parts_, num_units));
  }
  int num_parts() const { return row_parts_ * unit_parts_; }
  /// Rows begin at a multiple of kTileRows.
  Part part(int index) const {
    const Share tiles = share_of((rows_ + kTileRows - 1) / kTileRows, index / unit_parts_, row_parts_);
    return {.rows = {.first = tiles.first * kTileRows, .end = std::min(tiles.end * kTileRows, rows_)},
            .units = share_of(num_units_, index % unit_parts_, unit_parts_)};
  }

 private:
  int64_t rows_, num_units_;
  int row_parts_, unit_parts_;
};

}  // namespace

void linear(const ProductKernels& kernels, ThreadPool& threads, const CpuActivation& x, int64_t rows,
            const CpuPackedMatrix& weight, const float* bias, Matrix out, int64_t slot_stride) {
  const Product product{.x = x, .weight = weight};
  product.check(rows);
  ECHELON_CHECK(out.rows >= rows && out.cols >= weight.rows() && out.stride >= out.cols,
                "out is [{}, {}] stride {} for [{}, {}]", out.rows, out.cols, out.stride, rows, weight.rows());
  ECHELON_CHECK(!bias || weight.num_slots() == 1, "a bias is for a product with one slot");
  if (rows == 0 || weight.num_blocks() == 0) return;

  const auto function = kernels.product[static_cast<int>(weight.layout())];
  const int64_t panel_rows = product.panel_rows();
  const Division division(rows, weight.num_blocks(), threads.num_threads());
  threads.parallel(division.num_parts(), [&](int index) {
    const Division::Part part = division.part(index);
    const int64_t feature = part.units.first * kColumnBlock;
    for (int64_t first = part.rows.first; first < part.rows.end; first += panel_rows) {
      ProductTask task =
          product.task(part.units.first, part.units.end, first, std::min(panel_rows, part.rows.end - first),
                       out.row(first) + feature, out.stride);
      task.slot_stride = slot_stride;
      task.bias = bias ? bias + feature : nullptr;
      function(task);
    }
  });
}

void gated_linear(const ProductKernels& kernels, ThreadPool& threads, const CpuActivation& x, int64_t rows,
                  const CpuPackedMatrix& weight, decltype(OpKernels::gate_silu) gate, AlignedMemory& scratch,
                  CpuActivation& out) {
  const Product product{.x = x, .weight = weight};
  product.check(rows);
  ECHELON_CHECK(weight.is_interleaved() && out.cols() == weight.rows() / 2, "[{}, {}] into {} columns", weight.rows(),
                weight.cols(), out.cols());
  out.set_rows(rows);
  if (rows == 0 || weight.num_blocks() == 0) return;

  // A unit: two blocks of gates and two of ups, one group of 32 columns of the result.
  constexpr int64_t kUnitBlocks = 4, kUnitFloats = kUnitBlocks * kColumnBlock;
  constexpr int64_t kPieceFloats = 16 << 10;  // 64 KiB, in L2 beside the panel of activations
  const int64_t num_units = weight.num_blocks() / kUnitBlocks;
  const int64_t panel_rows = std::min({product.panel_rows(), rows, kPieceFloats / kUnitFloats});
  const Division division(rows, num_units, threads.num_threads());
  const int num_parts = division.num_parts();
  const int64_t most_units = std::min(kPieceFloats / (kUnitFloats * panel_rows), num_units);
  const int64_t floats = panel_rows * most_units * kUnitFloats + kTileRows * most_units * kQuantGroup;
  const size_t bytes = sizeof(float) * static_cast<size_t>(floats * num_parts);
  if (scratch.size_bytes() < bytes) scratch = AlignedMemory(bytes);
  const auto function = kernels.product[static_cast<int>(weight.layout())];
  threads.parallel(num_parts, [&](int index) {
    float* const products = scratch.get<float>() + index * floats;
    float* const gated = products + panel_rows * most_units * kUnitFloats;
    const Division::Part part = division.part(index);
    for (int64_t first_row = part.rows.first; first_row < part.rows.end; first_row += panel_rows) {
      const int64_t num_rows = std::min(panel_rows, part.rows.end - first_row);
      for (int64_t first = part.units.first, end = 0; first < part.units.end; first = end) {
        end = std::min(first + most_units, part.units.end);
        const int64_t stride = (end - first) * kUnitFloats, num_cols = (end - first) * kQuantGroup;
        function(product.task(first * kUnitBlocks, end * kUnitBlocks, first_row, num_rows, products, stride));
        for (int64_t r = 0; r < num_rows; ++r) {
          const float* const row = products + r * stride;
          gate(row, row + kColumnBlock, 2 * kColumnBlock, num_cols, gated + r % kTileRows * num_cols);
          if (r % kTileRows != kTileRows - 1 && r != num_rows - 1) continue;
          const int64_t tile_row = r / kTileRows * kTileRows;
          out.write_rows(first_row + tile_row, r + 1 - tile_row, first * kQuantGroup, gated, num_cols, num_cols);
        }
      }
    }
  });
}

}  // namespace echelon::cpu
