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

}  // namespace

void linear(const ProductKernels& kernels, ThreadPool& threads, const CpuActivation& x, int64_t rows,
            const CpuPackedMatrix& weight, const float* bias, Matrix out, int64_t slot_stride) {
  const bool quantized = weight.is_quantized();
  ECHELON_CHECK(rows >= 0 && rows <= x.rows() && x.cols() == weight.cols(), "{} rows of {}, columns {} for {}", rows,
                x.rows(), x.cols(), weight.cols());
  ECHELON_CHECK(quantized ? x.has_int8() : x.has_floats(), "the activation lacks the form the weight needs");
  ECHELON_CHECK(out.rows >= rows && out.cols >= weight.rows() && out.stride >= out.cols,
                "out is [{}, {}] stride {} for [{}, {}]", out.rows, out.cols, out.stride, rows, weight.rows());
  ECHELON_CHECK(!bias || weight.num_slots() == 1, "a bias is for a product with one slot");
  if (rows == 0 || weight.num_blocks() == 0) return;

  const auto function = kernels.product[static_cast<int>(weight.layout())];
  const int64_t stride = quantized ? x.num_groups() : x.float_stride();
  const int64_t panel_rows =
      rows_in_panel(quantized ? stride * static_cast<int64_t>(sizeof(ActivationGroup)) / kTileRows
                              : stride * static_cast<int64_t>(sizeof(float)));
  const int num_parts = static_cast<int>(std::min<int64_t>(threads.num_threads(), weight.num_blocks()));
  const bool into_l1 = prefers_prefetch_into_l1();
  threads.parallel(num_parts, [&](int part) {
    const Share share = share_of(weight.num_blocks(), part, num_parts);
    const int64_t feature = share.first * kColumnBlock;
    for (int64_t first = 0; first < rows; first += panel_rows) {
      function({.weight = weight.block(share.first),
                .block_bytes = weight.block_bytes(),
                .num_blocks = share.end - share.first,
                .activation = quantized ? static_cast<const void*>(x.tile(first / kTileRows)) : x.float_row(first),
                .starts = quantized ? x.starts(first / kTileRows) : nullptr,
                .activation_stride = stride,
                .num_rows = std::min(panel_rows, rows - first),
                .leaves = weight.leaves().data(),
                .num_leaves = static_cast<int64_t>(weight.leaves().size()),
                .out = out.row(first) + feature,
                .out_stride = out.stride,
                .slot_stride = slot_stride,
                .bias = bias ? bias + feature : nullptr,
                .num_features = std::min(share.end * kColumnBlock, weight.rows()) - feature,
                .prefetch_into_l1 = into_l1});
    }
  });
}

}  // namespace echelon::cpu
