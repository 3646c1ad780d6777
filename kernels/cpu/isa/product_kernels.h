// What the matrix products of one instruction set offer, as plain data: layouts in memory and a table of functions.
// Included by sources compiled once per instruction set, so it holds no inline function
// (kernels/cpu/isa/products_kernels.h).
#pragma once

#include <cstdint>

namespace echelon::cpu {

// clang-format off
/// How 16 output features (a block) lie in memory.
/// Quantised: one unit per group of 32 columns, groups ascending:
///   u4       256 bytes of codes; byte b of lane c (a feature) of 64-byte line j holds
///            column 4j + b (low nibble) and column 16 + 4j + b (high nibble)
///   u8       512 bytes of codes; byte b of lane c of line j holds column 4j + b
///   then     16 scales for each group of weights (one, or two for group 16),
///            then as many minimums (affine only), f16 or f32
///   symmetric: scale * (code - zero), zero = 8 for u4 and 128 for u8.   affine: scale * code + minimum.
/// Floats: for every column the 16 values side by side.
// clang-format on
enum class WeightLayout : uint8_t {
  u4_affine_f16,
  u4_affine_f32,
  u4_symmetric_f16,
  u4_symmetric_f32,
  u8_affine_f16,
  u8_affine_f32,
  u8_symmetric_f16,
  u8_symmetric_f32,
  u8g16_affine_f16,
  u8g16_affine_f32,
  u8g16_symmetric_f16,
  u8g16_symmetric_f32,
  bf16,
  f16,
  f32
};
inline constexpr int kNumWeightLayouts = 15;

inline constexpr int kTileRows = 8;  ///< rows of activations that lie interleaved

/// Quantised activations of kTileRows rows and one group of 32 columns. A tile is its groups, ascending; row r of the
/// matrix is row r % 8 of tile r / 8. A product of few rows touches few of the 64-byte lines.
struct alignas(64) ActivationGroup {
  int8_t codes[kTileRows][32];
  float scale[kTileRows];       ///< d_a
  float scaled_sum[kTileRows];  ///< d_a * float(sum of codes)
};

/// Beside each ActivationGroup, for symmetric weights and groups of 16: where the integer dots start.
struct alignas(64) ActivationStarts {
  int32_t minus_8[kTileRows];  ///< -8 * sum of codes
  int32_t minus_128[kTileRows];
  int32_t half_minus_128[2][kTileRows];  ///< of columns [0, 16) and [16, 32)
};

/// 32 values and where they go: row `row` (0..7) of a group. A tile's eight rows in order are quickest.
struct GroupToQuantize {
  const float* values;
  ActivationGroup* group;
  ActivationStarts* starts;
  int row;
};

inline constexpr int kMaxLeafDepth = 6;  ///< stack of the kernels for the leaves' program

/// One leaf of the columns: num_cols more columns, then the postfix program of ReductionTree.
struct LeafStep {
  int64_t num_cols;
  int32_t merges;
  int32_t slot;
};

/// Blocks of 16 features that lie one behind the other, times rows [0, num_rows). Pointers are borrowed for the call.
struct ProductTask {
  const uint8_t* weight;  ///< of the first block; 64-byte aligned for f16 scales and minimums, 32 otherwise
  int64_t block_bytes, num_blocks;
  const void* activation;          ///< ActivationGroup[num_rows / 8 up][activation_stride], or float rows
  const ActivationStarts* starts;  ///< in the same order; unused by floats
  int64_t activation_stride;       ///< groups in a tile, or floats from row to row
  int64_t num_rows;
  const LeafStep* leaves;
  int64_t num_leaves;
  float* out;                       ///< [slot][row][feature], at the first block's first feature
  int64_t out_stride, slot_stride;  ///< floats
  const float* bias;                ///< of the first block, added to slot 0; or null
  int64_t num_features;             ///< of all blocks; what is missing in the last is padding and not written
  bool prefetch_into_l1;            ///< of weights that are needed soon; else into L2
};

struct ProductKernels {
  void (*product[kNumWeightLayouts])(const ProductTask& task);  ///< by WeightLayout
  /// Any count of groups. Eight at once cost little more than one.
  void (*quantize)(const GroupToQuantize* groups, int count);
};

}  // namespace echelon::cpu
