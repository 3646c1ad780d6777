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
  const int num_parts = static_cast<int>(std::min<int64_t>(threads.num_threads(), weight.num_blocks()));
  threads.parallel(num_parts, [&](int part) {
    const Share share = share_of(weight.num_blocks(), part, num_parts);
    const int64_t feature = share.first * kColumnBlock;
    for (int64_t first = 0; first < rows; first += panel_rows) {
      ProductTask task = product.task(share.first, share.end, first, std::min(panel_rows, rows - first),
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
  const int num_parts = static_cast<int>(std::min<int64_t>(threads.num_threads(), num_units));
  const int64_t most_units = std::min(kPieceFloats / (kUnitFloats * panel_rows), num_units / num_parts + 1);
  const int64_t floats = panel_rows * most_units * kUnitFloats + most_units * kQuantGroup;
  const size_t bytes = sizeof(float) * static_cast<size_t>(floats * num_parts);
  if (scratch.size_bytes() < bytes) scratch = AlignedMemory(bytes);
  const auto function = kernels.product[static_cast<int>(weight.layout())];
  threads.parallel(num_parts, [&](int part) {
    float* const products = scratch.get<float>() + part * floats;
    float* const gated = products + panel_rows * most_units * kUnitFloats;
    const Share share = share_of(num_units, part, num_parts);
    for (int64_t first_row = 0; first_row < rows; first_row += panel_rows) {
      const int64_t num_rows = std::min(panel_rows, rows - first_row);
      for (int64_t first = share.first, end = 0; first < share.end; first = end) {
        end = std::min(first + most_units, share.end);
        const int64_t stride = (end - first) * kUnitFloats, num_cols = (end - first) * kQuantGroup;
        function(product.task(first * kUnitBlocks, end * kUnitBlocks, first_row, num_rows, products, stride));
        for (int64_t r = 0; r < num_rows; ++r) {
          const float* const row = products + r * stride;
          gate(row, row + kColumnBlock, 2 * kColumnBlock, num_cols, gated);
          out.write_row(first_row + r, first * kQuantGroup, gated, num_cols);
        }
      }
    }
  });
}

}  // namespace echelon::cpu
