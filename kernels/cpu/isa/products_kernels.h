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
#include "kernels/cpu/simd.h"

namespace echelon::cpu::ECHELON_ISA {

// Rows of a register tile, measured on a Zen 4 core at 32 rows. More spill, fewer unpack and load too often.
#if defined(__AVX512VNNI__)
inline constexpr int kNibbleRows = 8, kByteRows = 8, kHalfFloatRows = 8, kFloatRows = 8;
#elif defined(__AVX512F__)
inline constexpr int kNibbleRows = 4, kByteRows = 8, kHalfFloatRows = 8, kFloatRows = 8;
#elif defined(__AVX2__)
inline constexpr int kNibbleRows = 2, kByteRows = 2, kHalfFloatRows = 2, kFloatRows = 3;
#else
inline constexpr int kNibbleRows = 1, kByteRows = 1, kHalfFloatRows = 1, kFloatRows = 1;
#endif
static_assert(kNibbleRows <= kTileRows && kByteRows <= kTileRows);

/// The stack of the postfix program for R rows; in L1.
template <int R>
struct LeafStack {
  float values[kMaxLeafDepth][R][16];
  int depth = 0;
};

template <int R>
static inline void finish_leaf(const BlockTask& task, const LeafStep& leaf, float* out, LeafStack<R>& stack,
                               F32x16 (&acc)[R]) {
  for (int m = 0; m < leaf.merges; ++m) {
    --stack.depth;
    for (int r = 0; r < R; ++r) acc[r] = add(load(stack.values[stack.depth][r]), acc[r]);
  }
  if (leaf.slot < 0) {
    for (int r = 0; r < R; ++r) store(stack.values[stack.depth][r], acc[r]);
    ++stack.depth;
    return;
  }
  float* const first = out + leaf.slot * task.slot_stride;
  if (leaf.slot == 0 && task.bias) {
    const F32x16 bias = load_first(task.bias, task.num_features);
    for (int r = 0; r < R; ++r) acc[r] = add(acc[r], bias);
  }
  if (task.num_features == 16) {
    for (int r = 0; r < R; ++r) store(first + r * task.out_stride, acc[r]);
  } else {
    for (int r = 0; r < R; ++r) store_first(first + r * task.out_stride, acc[r], task.num_features);
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
template <int Half, bool kAffine, bool kF16, int R>
static inline void add_half_group(const uint8_t* w, const ActivationGroup& a, const ActivationStarts& starts, int row,
                                  F32x16 (&acc)[R]) {
  constexpr int kScaleBytes = kF16 ? 32 : 64;
  const int32_t* const minus_128 = starts.half_minus_128[Half] + row;
  I32x16 dot[R];
  dots_u8_half<Half>(w, a.codes + row, kAffine ? nullptr : minus_128, dot);
  float scaled_sum[R];
  if constexpr (kAffine) {
    for (int r = 0; r < R; ++r) scaled_sum[r] = a.scale[row + r] * static_cast<float>(minus_128[r] / -128);
  }
  const uint8_t* const scales = w + 512 + Half * kScaleBytes;
  add_group<kAffine, kF16>(scales, scales + 2 * kScaleBytes, a.scale + row, scaled_sum, dot, acc);
}

/// R rows from row `row` of a tile, one block of features, all leaves.
template <Codes kCodes, bool kAffine, bool kF16, int R>
static void integer_tile(const BlockTask& task, int64_t first_group, int row, float* out) {
  constexpr int kCodeBytes = kCodes == Codes::u4 ? 256 : 512;
  constexpr int kScaleBytes = (kF16 ? 32 : 64) * (kCodes == Codes::u8g16 ? 2 : 1);
  constexpr int kUnitBytes = kCodeBytes + kScaleBytes * (kAffine ? 2 : 1);
  const uint8_t* w = task.weight;
  const ActivationGroup* a = static_cast<const ActivationGroup*>(task.activation) + first_group;
  const ActivationStarts* starts = task.starts + first_group;
  LeafStack<R> stack;
  for (int64_t l = 0; l < task.num_leaves; ++l) {
    F32x16 acc[R];
    for (int r = 0; r < R; ++r) acc[r] = zero();
    const int64_t num_groups = (task.leaves[l].num_cols + kQuantGroup - 1) / kQuantGroup;
    for (int64_t g = 0; g < num_groups; ++g, ++a, ++starts, w += kUnitBytes) {
      if constexpr (kCodes == Codes::u8g16) {
        add_half_group<0, kAffine, kF16>(w, *a, *starts, row, acc);
        add_half_group<1, kAffine, kF16>(w, *a, *starts, row, acc);
      } else {
        I32x16 dot[R];
        if constexpr (kCodes == Codes::u4) {
          dots_u4(w, a->codes + row, kAffine ? nullptr : starts->minus_8 + row, dot);
        } else {
          dots_u8(w, a->codes + row, kAffine ? nullptr : starts->minus_128 + row, dot);
        }
        add_group<kAffine, kF16>(w + kCodeBytes, w + kCodeBytes + kScaleBytes, a->scale + row, a->scaled_sum + row, dot,
                                 acc);
      }
    }
    finish_leaf(task, task.leaves[l], out, stack, acc);
  }
}

/// The tile of exactly n rows, 1 <= n <= R.
template <Codes kCodes, bool kAffine, bool kF16, int R>
static void integer_rows(const BlockTask& task, int64_t first_group, int row, int n, float* out) {
  if constexpr (R > 1) {
    if (n < R) return integer_rows<kCodes, kAffine, kF16, R - 1>(task, first_group, row, n, out);
  }
  integer_tile<kCodes, kAffine, kF16, R>(task, first_group, row, out);
}

template <Codes kCodes, bool kAffine, bool kF16>
static void integer_block(const BlockTask& task) {
  constexpr int kRows = kCodes == Codes::u4 ? kNibbleRows : kByteRows;
  int64_t num_rows = 0;
  for (int64_t row = 0; row < task.num_rows; row += num_rows) {
    const int in_tile = static_cast<int>(row % kTileRows);
    const int64_t left = task.num_rows - row, left_in_tile = kTileRows - in_tile;
    num_rows = left < left_in_tile ? left : left_in_tile;
    if (num_rows > kRows) num_rows = kRows;
    integer_rows<kCodes, kAffine, kF16, kRows>(task, row / kTileRows * task.activation_stride, in_tile,
                                               static_cast<int>(num_rows), task.out + row * task.out_stride);
  }
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
static void float_tile(const BlockTask& task, const float* x, float* out) {
  const typename Weight::Stored* w = reinterpret_cast<const typename Weight::Stored*>(task.weight);
  const int64_t stride = task.activation_stride;
  LeafStack<R> stack;
  for (int64_t l = 0; l < task.num_leaves; ++l) {
    F32x16 even[R], odd[R];
    for (int r = 0; r < R; ++r) even[r] = odd[r] = zero();
    const int64_t num_cols = task.leaves[l].num_cols;
    for (int64_t k = 0; k + 1 < num_cols; k += 2, w += 32) {
      const F32x16 w0 = Weight::widen(w), w1 = Weight::widen(w + 16);
      for (int r = 0; r < R; ++r) even[r] = fma(set1(x[r * stride + k]), w0, even[r]);
      for (int r = 0; r < R; ++r) odd[r] = fma(set1(x[r * stride + k + 1]), w1, odd[r]);
    }
    if (num_cols % 2 == 1) {
      const F32x16 last = Weight::widen(w);
      for (int r = 0; r < R; ++r) even[r] = fma(set1(x[r * stride + num_cols - 1]), last, even[r]);
      w += 16;
    }
    x += num_cols;
    for (int r = 0; r < R; ++r) even[r] = add(even[r], odd[r]);
    finish_leaf(task, task.leaves[l], out, stack, even);
  }
}

template <class Weight, int R>
static void float_rows(const BlockTask& task, const float* x, int64_t n, float* out) {
  if constexpr (R > 1) {
    if (n < R) return float_rows<Weight, R - 1>(task, x, n, out);
  }
  float_tile<Weight, R>(task, x, out);
}

template <class Weight>
static void float_block(const BlockTask& task) {
  const float* const x = static_cast<const float*>(task.activation);
  int64_t num_rows = 0;
  for (int64_t row = 0; row < task.num_rows; row += num_rows) {
    const int64_t left = task.num_rows - row;
    num_rows = left < Weight::kRows ? left : Weight::kRows;
    float_rows<Weight, Weight::kRows>(task, x + row * task.activation_stride, num_rows,
                                      task.out + row * task.out_stride);
  }
}

// Quantisation of activations; the definition is in kernels/cpu/activation.h.

#if defined(__AVX512F__)
/// The largest |x| of 32 values by bit pattern (the same order as the values; a NaN is largest).
static inline uint32_t largest_magnitude(const float* x) {
  const __m512i mask = _mm512_set1_epi32(0x7fffffff);
  return static_cast<uint32_t>(_mm512_reduce_max_epi32(_mm512_max_epi32(
      _mm512_and_si512(_mm512_loadu_si512(x), mask), _mm512_and_si512(_mm512_loadu_si512(x + 16), mask))));
}
/// 16 codes, and their sum.
static inline int32_t store_codes(int8_t* codes, I32x16 q) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm512_cvtepi32_epi8(q.v));
  return _mm512_reduce_add_epi32(q.v);
}
#else
static inline uint32_t largest_magnitude(const float* x) {
  uint32_t bits[32], largest = 0;
  std::memcpy(bits, x, sizeof bits);
  for (uint32_t value : bits) {
    value &= 0x7fffffffu;
    largest = value > largest ? value : largest;
  }
  return largest;
}
static inline int32_t store_codes(int8_t* codes, I32x16 q) {
  int32_t values[16], sum = 0;
  store(values, q);
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<int8_t>(values[i]);
    sum += values[i];
  }
  return sum;
}
#endif

static inline int32_t quantize_half(const float* x, F32x16 inverse, int8_t* codes) {
  const F32x16 scaled = max(min(mul(load(x), inverse), set1(127.0f)), set1(-127.0f));
  return store_codes(codes, round_to_int(scaled));
}

static inline void quantize_group(const float* x, ActivationGroup& group, ActivationStarts& starts, int row) {
  const uint32_t largest = largest_magnitude(x);
  constexpr uint32_t kSmallest = (127u - 119u) << 23;  // 2^-119
  float d = 0.0f, inverse = 0.0f;
  if (largest >= kSmallest) {
    float m;
    std::memcpy(&m, &largest, sizeof m);
    d = m / 127.0f;
    inverse = 127.0f / m;
  }
  const int32_t low = quantize_half(x, set1(inverse), group.codes[row]);
  const int32_t high = quantize_half(x + 16, set1(inverse), group.codes[row] + 16);
  group.scale[row] = d;
  group.scaled_sum[row] = d * static_cast<float>(low + high);
  starts.minus_8[row] = -8 * (low + high);
  starts.minus_128[row] = -128 * (low + high);
  starts.half_minus_128[0][row] = -128 * low;
  starts.half_minus_128[1][row] = -128 * high;
}

static void quantize(const float* values, int64_t count, ActivationGroup* groups, ActivationStarts* starts, int row) {
  for (; count >= kQuantGroup; count -= kQuantGroup, values += kQuantGroup) {
    quantize_group(values, *groups++, *starts++, row);
  }
  if (count > 0) {
    float padded[kQuantGroup] = {};
    std::memcpy(padded, values, sizeof(float) * static_cast<size_t>(count));
    quantize_group(padded, *groups, *starts, row);
  }
}

/// In the order of WeightLayout.
static constexpr ProductKernels kProductKernels = {
    .block = {integer_block<Codes::u4, true, true>, integer_block<Codes::u4, true, false>,
              integer_block<Codes::u4, false, true>, integer_block<Codes::u4, false, false>,
              integer_block<Codes::u8, true, true>, integer_block<Codes::u8, true, false>,
              integer_block<Codes::u8, false, true>, integer_block<Codes::u8, false, false>,
              integer_block<Codes::u8g16, true, true>, integer_block<Codes::u8g16, true, false>,
              integer_block<Codes::u8g16, false, true>, integer_block<Codes::u8g16, false, false>, float_block<Bf16>,
              float_block<F16>, float_block<F32>},
    .quantize = quantize,
};

const ProductKernels& product_kernels() { return kProductKernels; }

}  // namespace echelon::cpu::ECHELON_ISA
