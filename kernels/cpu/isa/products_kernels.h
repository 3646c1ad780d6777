// Matrix products with packed weights: y[row, feature] = sum over columns of x[row, column] * w[feature, column].
// Compiled once per instruction set (products_<isa>.cc); every set gives the same bits. The definition, frozen:
// clang-format off
//
// Activation, for every 32 columns of a row (a short last group is filled with zeros):
//   m     = largest |x|; below 2^-119 all codes and d_a are 0
//   d_a   = m / 127
//   codes = x * (127 / m), nearest even, within [-127, 127]
//
// Integer product of one leaf, for every output element, from acc = 0; groups of the weight ascending
// (32 columns, or 16: two to a group of the activation):
//   i   = exact integer dot of (code - zero) with the activation codes
//   acc = fma(float(i), d_w * d_a, acc), the product of the scales rounded once
//   with a minimum then acc = fma(m_w, d_a * float(sum of the activation codes of the group), acc)
//
// Float product of one leaf:
//   even = fma chain over the leaf's columns 0, 2, 4, ...
//   odd  = fma chain over the leaf's columns 1, 3, 5, ...
//   even + odd
//
// Leaves combine by the postfix program of kernels/reduction_tree.h in float32: top = below + top.
// Bias is added once, last, to slot 0. Subnormal results and inputs are zero (FloatEnvironment).
//
// clang-format on
// Bytes moved: the block's weights once for all rows of the task (they stay in L1 or L2), the rows' activations once a
// block.
#pragma once

// g++ 12 takes the deliberately undefined operand inside its own AVX-512 intrinsics for a mistake (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include "kernels/base/limits.h"
#include "kernels/cpu/isa/group_dots.h"
#include "kernels/cpu/isa/product_kernels.h"
#include "kernels/cpu/isa/quantize_kernels.h"
#include "kernels/cpu/simd.h"

namespace echelon::cpu::ECHELON_ISA {

// Rows of a register tile, measured on Zen 4 and Zen 5 cores: more spill, fewer unpack and load too often. k*PairRows:
// of a tile that two blocks of features share, which loads each activation once for both; 0 where registers do not
// suffice.
#if defined(__AVX512VNNI__)
inline constexpr int kNibbleRows = 8, kByteRows = 8, kHalfFloatRows = 8, kFloatRows = 8;
inline constexpr int kNibblePairRows = 4, kBytePairRows = 4;
#elif defined(__AVX512F__)
inline constexpr int kNibbleRows = 8, kByteRows = 8, kHalfFloatRows = 8, kFloatRows = 8;
inline constexpr int kNibblePairRows = 0, kBytePairRows = 0;
#elif defined(__AVX2__)
inline constexpr int kNibbleRows = 4, kByteRows = 4, kHalfFloatRows = 2, kFloatRows = 3;
inline constexpr int kNibblePairRows = 0, kBytePairRows = 0;
#else
inline constexpr int kNibbleRows = 1, kByteRows = 1, kHalfFloatRows = 1, kFloatRows = 1;
inline constexpr int kNibblePairRows = 0, kBytePairRows = 0;
#endif
static_assert(kNibbleRows <= kTileRows && kByteRows <= kTileRows);

/// How far the prefetch of a single stream of weights runs ahead. One core, SmolLM2's layers of 4-bit weights, one row:
/// Zen 5 reads 40 GB/s without prefetch, 55 with one into L1 10 KB ahead (640 bytes ahead 36, 5 KB 48, 20 KB 55). On
/// Zen 4 a prefetch into L1 loses. Into L2, of a model's decode of one row (2 threads, share of the read loop): none 87
/// %, 1280 bytes ahead 92 %, 2.5 KB 84 %, 10 KB 75 %; but 4 and 8 rows, G MAC/s: none 141 and 143, 1280 bytes 115 and
/// 129, 10 KB 153 and 159. Few are rows that do not hide the reading: up to 2 of 4-bit weights, up to 4 of 8-bit ones.
/// Where several tiles of rows pass over the same weights, each fetches its part of the next block, or pair, into L2
/// instead: on Zen 5 a step of 32 rows of SmolLM2 took 15.2 ms with the last tile fetching all, 13.1 so, no less into
/// L1.
inline constexpr int64_t kBytesAhead = 10 << 10, kBytesAheadOfFewRows = 1280;

/// Any address; nothing is read that is not there.
static inline void prefetch_unit(const uint8_t* p, int64_t bytes, bool into_l1) {
  if (into_l1) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, 3);
  } else {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, 2);
  }
}

/// One register tile: R rows, B blocks of features.
template <int B, int R>
struct Tile {
  const uint8_t* weight;  ///< of the first block
  int64_t block_bytes;
  int64_t ahead;      ///< bytes from weight to what should be fetched meanwhile; or 0
  float* out;         ///< of the first row and block, slot 0
  const float* bias;  ///< of the first block; or null
  int num_features;   ///< of the last block; the others have 16
};

template <int B, int R>
static inline Tile<B, R> tile_of(const ProductTask& task, int64_t b) {
  const int64_t first = 16 * b, in_last = task.num_features - first - 16 * (B - 1);
  return {.weight = task.weight + b * task.block_bytes,
          .block_bytes = task.block_bytes,
          .ahead = 0,
          .out = task.out + first,
          .bias = task.bias ? task.bias + first : nullptr,
          .num_features = static_cast<int>(in_last < 16 ? in_last : 16)};
}

/// The stack of the postfix program. Its newest value stays in registers until another is pushed: of the three leaves
/// of a subtree one goes through memory (L1). The first push of a sum writes a value that nobody reads.
template <int B, int R>
struct LeafStack {
  static constexpr int kLanes = B * R * 16;
  float values[(kMaxLeafDepth + 1) * kLanes];
};

/// Merges, and pushes acc or writes it to its slot. `top`: the end of the stack's older values, a variable beside it:
/// as a member it would lie in memory.
template <int B, int R>
static inline void finish_leaf(const ProductTask& task, const Tile<B, R>& tile, const LeafStep& leaf,
                               LeafStack<B, R>& stack, float*& top, F32x16 (&newest)[B][R], F32x16 (&acc)[B][R]) {
  constexpr int kLanes = LeafStack<B, R>::kLanes;
  if (leaf.merges > 0) {
    for (int b = 0; b < B; ++b) {
      for (int r = 0; r < R; ++r) acc[b][r] = add(newest[b][r], acc[b][r]);
    }
    for (int m = 1; m < leaf.merges; ++m) {
      top -= kLanes;
      for (int b = 0; b < B; ++b) {
        for (int r = 0; r < R; ++r) acc[b][r] = add(load(top + 16 * (b * R + r)), acc[b][r]);
      }
    }
  }
  if (leaf.slot < 0) {
    if (leaf.merges == 0) {
      for (int b = 0; b < B; ++b) {
        for (int r = 0; r < R; ++r) store(top + 16 * (b * R + r), newest[b][r]);
      }
      top += kLanes;
    }
    for (int b = 0; b < B; ++b) {
      for (int r = 0; r < R; ++r) newest[b][r] = acc[b][r];
    }
    return;
  }
  top = stack.values;
  for (int b = 0; b < B; ++b) {
    float* const first = tile.out + leaf.slot * task.slot_stride + 16 * b;
    const int num_features = b + 1 == B ? tile.num_features : 16;
    if (leaf.slot == 0 && tile.bias) {
      const F32x16 bias = load_first(tile.bias + 16 * b, num_features);
      for (int r = 0; r < R; ++r) acc[b][r] = add(acc[b][r], bias);
    }
    if (num_features == 16) {
      for (int r = 0; r < R; ++r) store(first + r * task.out_stride, acc[b][r]);
    } else {
#pragma GCC unroll 8  // a loop would give acc an address, and AVX2 then keeps a copy of it in memory all along
      for (int r = 0; r < R; ++r) store_first(first + r * task.out_stride, acc[b][r], num_features);
    }
  }
}

enum class Codes { u4, u8, u8g16 };

template <bool kHalf>
static inline F32x16 load_scales(const uint8_t* p) {
  if constexpr (kHalf) return load_f16(reinterpret_cast<const uint16_t*>(p));
  return load(reinterpret_cast<const float*>(p));
}

/// acc += dot * (d_w * d_a), then the minimum's part.
template <bool kAffine, bool kF16, int R>
static inline void add_group(const uint8_t* scales, const uint8_t* minimums, const float* scale,
                             const float* scaled_sum, const I32x16 (&dot)[R], F32x16 (&acc)[R]) {
  const F32x16 d = load_scales<kF16>(scales);
  for (int r = 0; r < R; ++r) acc[r] = fma(to_float(dot[r]), mul(d, set1(scale[r])), acc[r]);
  if constexpr (kAffine) {
    const F32x16 m = load_scales<kF16>(minimums);
    for (int r = 0; r < R; ++r) acc[r] = fma(m, set1(scaled_sum[r]), acc[r]);
  }
}

/// Half `Half` of a group whose weights have a scale for every 16 columns.
template <int Half, bool kAffine, bool kF16, int B, int R>
static inline void add_half_group(const uint8_t* w, int64_t block_bytes, const ActivationGroup& a,
                                  const ActivationStarts& starts, int row, F32x16 (&acc)[B][R]) {
  constexpr int kScaleBytes = kF16 ? 32 : 64;
  const int32_t* const minus_128 = starts.half_minus_128[Half] + row;
  I32x16 dot[B][R];
  dots_u8_half<Half, !kAffine>(w, block_bytes, a.codes + row, minus_128, dot);
  float scaled_sum[R];
  if constexpr (kAffine) {
    for (int r = 0; r < R; ++r) scaled_sum[r] = a.scale[row + r] * static_cast<float>(minus_128[r] / -128);
  }
  for (int b = 0; b < B; ++b) {
    const uint8_t* const scales = w + b * block_bytes + 512 + Half * kScaleBytes;
    add_group<kAffine, kF16>(scales, scales + 2 * kScaleBytes, a.scale + row, scaled_sum, dot[b], acc[b]);
  }
}

/// The compiler would count every address of the loop in a register of its own, and set all of them up in every leaf
/// (8-bit weights, 32 and 512 rows: 3 % of the time; 4-bit weights are slower with it).
static inline void keep_pointers(const uint8_t*& w, const ActivationGroup*& a, const ActivationStarts*& starts) {
  asm("" : "+r"(w), "+r"(a), "+r"(starts));
}

/// R rows from row `row` of an activation tile, B blocks of features, all leaves.
template <Codes kCodes, bool kAffine, bool kF16, int B, int R>
static void integer_tile(const ProductTask& task, const Tile<B, R>& tile, int64_t first_group, int row) {
  constexpr int kCodeBytes = kCodes == Codes::u4 ? 256 : 512;
  constexpr int kScaleBytes = (kF16 ? 32 : 64) * (kCodes == Codes::u8g16 ? 2 : 1);
  constexpr int kUnitBytes = kCodeBytes + kScaleBytes * (kAffine ? 2 : 1);
  const uint8_t* w = tile.weight;
  const int64_t block_bytes = tile.block_bytes;
  const ActivationGroup* a = static_cast<const ActivationGroup*>(task.activation) + first_group;
  const ActivationStarts* starts = task.starts + first_group;
  LeafStack<B, R> stack;
  float* top = stack.values;
  F32x16 newest[B][R];
  for (int b = 0; b < B; ++b) {
    for (int r = 0; r < R; ++r) newest[b][r] = zero();
  }
  for (int64_t l = 0; l < task.num_leaves; ++l) {
    F32x16 acc[B][R];
    for (int b = 0; b < B; ++b) {
      for (int r = 0; r < R; ++r) acc[b][r] = zero();
    }
    const int64_t num_groups = (task.leaves[l].num_cols + kQuantGroup - 1) / kQuantGroup;
    if (num_groups < 1) __builtin_unreachable();  // pack_matrix() checks it; without the test a leaf costs less
    for (int64_t g = 0; g < num_groups; ++g, ++a, ++starts, w += kUnitBytes) {
      if constexpr (kCodes != Codes::u4) keep_pointers(w, a, starts);
      if constexpr (B == 1) {  // several tiles pass over a pair: see integer_blocks
        if (tile.ahead != 0) prefetch_unit(w + tile.ahead, kUnitBytes, task.prefetch_into_l1);
      }
      if constexpr (kCodes == Codes::u8g16) {
        add_half_group<0, kAffine, kF16>(w, block_bytes, *a, *starts, row, acc);
        add_half_group<1, kAffine, kF16>(w, block_bytes, *a, *starts, row, acc);
      } else {
        I32x16 dot[B][R];
        if constexpr (kCodes == Codes::u4) {
          dots_u4(w, block_bytes, a->codes + row, kAffine ? nullptr : starts->minus_8 + row, dot);
        } else {
          dots_u8<!kAffine>(w, block_bytes, a->codes + row, starts->minus_128 + row, dot);
        }
        for (int b = 0; b < B; ++b) {
          const uint8_t* const scales = w + b * block_bytes + kCodeBytes;
          add_group<kAffine, kF16>(scales, scales + kScaleBytes, a->scale + row, a->scaled_sum + row, dot[b], acc[b]);
        }
      }
    }
    finish_leaf(task, tile, task.leaves[l], stack, top, newest, acc);
  }
}

/// The tile of exactly n rows, 1 <= n <= R.
template <Codes kCodes, bool kAffine, bool kF16, int B, int R>
static void integer_rows(const ProductTask& task, const Tile<B, R>& tile, int64_t first_group, int row, int n) {
  if constexpr (R > 1) {
    if (n < R) {
      return integer_rows<kCodes, kAffine, kF16, B, R - 1>(
          task, {tile.weight, tile.block_bytes, tile.ahead, tile.out, tile.bias, tile.num_features}, first_group, row,
          n);
    }
  }
  integer_tile<kCodes, kAffine, kF16, B, R>(task, tile, first_group, row);
}

/// All rows times B blocks from block b, in tiles of at most kRows rows.
template <Codes kCodes, bool kAffine, bool kF16, int B, int kRows>
static void integer_blocks(const ProductTask& task, int64_t b) {
  Tile<B, kRows> tile = tile_of<B, kRows>(task, b);
  const int64_t block_bytes = B * task.block_bytes;
  int64_t num_rows = 0, fetched = 0;
  for (int64_t row = 0; row < task.num_rows; row += num_rows, tile.out += num_rows * task.out_stride) {
    const int in_tile = static_cast<int>(row % kTileRows);
    const int64_t rows_left = task.num_rows - row, left_in_tile = kTileRows - in_tile;
    num_rows = rows_left < left_in_tile ? rows_left : left_in_tile;
    if (num_rows > kRows) num_rows = kRows;
    if (num_rows == task.num_rows) {
      constexpr int64_t kFewRows = kCodes == Codes::u4 ? 2 : 4;
      tile.ahead = num_rows <= kFewRows && !task.prefetch_into_l1 ? kBytesAheadOfFewRows : kBytesAhead;
    } else {
      const int64_t end = block_bytes * (row + num_rows) / task.num_rows / 64 * 64;
      prefetch_unit(tile.weight + block_bytes + fetched, end - fetched, false);
      fetched = end;
    }
    integer_rows<kCodes, kAffine, kF16>(task, tile, row / kTileRows * task.activation_stride, in_tile,
                                        static_cast<int>(num_rows));
  }
}

template <Codes kCodes, bool kAffine, bool kF16>
static void integer_product(const ProductTask& task) {
  constexpr int kRows = kCodes == Codes::u4 ? kNibbleRows : kByteRows;
  constexpr int kPairRows = kCodes == Codes::u4 ? kNibblePairRows : kBytePairRows;
  int64_t b = 0;
  if constexpr (kPairRows > 0) {
    if (task.num_rows > kRows) {  // in one tile, one stream of weights arrives faster than two
      for (; b + 2 <= task.num_blocks; b += 2) integer_blocks<kCodes, kAffine, kF16, 2, kPairRows>(task, b);
    }
  }
  for (; b < task.num_blocks; ++b) integer_blocks<kCodes, kAffine, kF16, 1, kRows>(task, b);
}

struct Bf16 {
  using Stored = uint16_t;
  static constexpr int kRows = kHalfFloatRows;
  static inline F32x16 widen(const uint16_t* p) { return load_bf16(p); }
};
struct F16 {
  using Stored = uint16_t;
  static constexpr int kRows = kHalfFloatRows;
  static inline F32x16 widen(const uint16_t* p) { return load_f16(p); }
};
struct F32 {
  using Stored = float;
  static constexpr int kRows = kFloatRows;
  static inline F32x16 widen(const float* p) { return load(p); }
};

template <class Weight, int R>
static void float_tile(const ProductTask& task, const Tile<1, R>& tile, const float* x) {
  const typename Weight::Stored* w = reinterpret_cast<const typename Weight::Stored*>(tile.weight);
  const int64_t stride = task.activation_stride;
  LeafStack<1, R> stack;
  float* top = stack.values;
  F32x16 newest[1][R];
  for (int r = 0; r < R; ++r) newest[0][r] = zero();
  for (int64_t l = 0; l < task.num_leaves; ++l) {
    F32x16 even[1][R], odd[R];
    for (int r = 0; r < R; ++r) even[0][r] = odd[r] = zero();
    const int64_t num_cols = task.leaves[l].num_cols;
    for (int64_t k = 0; k + 1 < num_cols; k += 2, w += 32) {
      const F32x16 w0 = Weight::widen(w), w1 = Weight::widen(w + 16);
      for (int r = 0; r < R; ++r) even[0][r] = fma(set1(x[r * stride + k]), w0, even[0][r]);
      for (int r = 0; r < R; ++r) odd[r] = fma(set1(x[r * stride + k + 1]), w1, odd[r]);
    }
    if (num_cols % 2 == 1) {
      const F32x16 last = Weight::widen(w);
      for (int r = 0; r < R; ++r) even[0][r] = fma(set1(x[r * stride + num_cols - 1]), last, even[0][r]);
      w += 16;
    }
    x += num_cols;
    for (int r = 0; r < R; ++r) even[0][r] = add(even[0][r], odd[r]);
    finish_leaf(task, tile, task.leaves[l], stack, top, newest, even);
  }
}

template <class Weight, int R>
static void float_rows(const ProductTask& task, const Tile<1, R>& tile, const float* x, int64_t n) {
  if constexpr (R > 1) {
    if (n < R) {
      return float_rows<Weight, R - 1>(
          task, {tile.weight, tile.block_bytes, tile.ahead, tile.out, tile.bias, tile.num_features}, x, n);
    }
  }
  float_tile<Weight, R>(task, tile, x);
}

template <class Weight>
static void float_product(const ProductTask& task) {
  for (int64_t b = 0; b < task.num_blocks; ++b) {
    Tile<1, Weight::kRows> tile = tile_of<1, Weight::kRows>(task, b);
    const float* x = static_cast<const float*>(task.activation);
    int64_t num_rows = 0;
    for (int64_t row = 0; row < task.num_rows; row += num_rows) {
      const int64_t left = task.num_rows - row;
      num_rows = left < Weight::kRows ? left : Weight::kRows;
      float_rows<Weight, Weight::kRows>(task, tile, x, num_rows);
      x += num_rows * task.activation_stride;
      tile.out += num_rows * task.out_stride;
    }
  }
}

/// In the order of WeightLayout.
static constexpr ProductKernels kProductKernels = {
    .product = {integer_product<Codes::u4, true, true>, integer_product<Codes::u4, true, false>,
                integer_product<Codes::u4, false, true>, integer_product<Codes::u4, false, false>,
                integer_product<Codes::u8, true, true>, integer_product<Codes::u8, true, false>,
                integer_product<Codes::u8, false, true>, integer_product<Codes::u8, false, false>,
                integer_product<Codes::u8g16, true, true>, integer_product<Codes::u8g16, true, false>,
                integer_product<Codes::u8g16, false, true>, integer_product<Codes::u8g16, false, false>,
                float_product<Bf16>, float_product<F16>, float_product<F32>},
    .quantize = quantize_groups,
};

const ProductKernels& product_kernels() { return kProductKernels; }

}  // namespace echelon::cpu::ECHELON_ISA
