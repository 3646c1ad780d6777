// One decoder a quantised type, for a piece of 32 columns; everything else is a loop over pieces.
// Layouts as ggml's block structs define them. Words of 8 bytes hold 8 codes, so the loops vectorise without
// intrinsics.
#include "engine/weights/dequantize.h"

#include <array>
#include <bit>
#include <cstring>

#include "kernels/base/check.h"
#include "kernels/base/half.h"

static_assert(std::endian::native == std::endian::little, "weight files are little-endian and read in place");

namespace echelon {
namespace {

constexpr int kPiece = 32;  ///< columns decoded at once; a group of scales never crosses a piece
constexpr uint64_t kNibbles = 0x0f0f0f0f0f0f0f0f;
constexpr uint64_t kOnes = 0x0101010101010101;

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

float load_f16(const std::byte* from) { return f16_to_float(load<uint16_t>(from)); }

/// Where a piece is decoded to: 32 codes, one scale (two in groups of 16), one minimum.
struct PieceOut {
  uint8_t* codes;
  float* scales;
  float* minimums;

  void store(int word, uint64_t eight_codes) const { std::memcpy(codes + 8 * word, &eight_codes, 8); }
};

/// 16 bytes of nibbles: the low ones are columns 0..15 of a piece, the high ones columns 16..31.
void decode_nibbles(const std::byte* nibbles, const PieceOut& out) {
  for (int word = 0; word < 2; ++word) {
    const auto pairs = load<uint64_t>(nibbles + 8 * word);
    out.store(word, pairs & kNibbles);
    out.store(word + 2, (pairs >> 4) & kNibbles);
  }
}

/// Bit i of `bits` to bit 4 of byte i: every byte keeps its own bit of a copy, and a carry marks those that are not
/// zero.
uint64_t spread_to_bit_4(uint8_t bits) {
  const uint64_t own_bit = (bits * kOnes) & 0x8040201008040201;
  return ((own_bit + 0x7f7f7f7f7f7f7f7f) >> 3) & (kOnes << 4);
}

/// Q5_0 and Q5_1: nibbles as above, the fifth bits of columns 0..31 in one little-endian word; `bias` is added.
template <int bias>
void decode_five_bits(const std::byte* fifth_bits, const std::byte* nibbles, const PieceOut& out) {
  for (int word = 0; word < 2; ++word) {
    const auto pairs = load<uint64_t>(nibbles + 8 * word);
    const uint64_t low = (pairs & kNibbles) | spread_to_bit_4(load<uint8_t>(fifth_bits + word));
    const uint64_t high = ((pairs >> 4) & kNibbles) | spread_to_bit_4(load<uint8_t>(fifth_bits + word + 2));
    out.store(word, low + kOnes * bias);
    out.store(word + 2, high + kOnes * bias);
  }
}

/// Scale and minimum of sub-block j of Q4_K and Q5_K. Of the 12 bytes, 0..3 hold the low six bits' scales 0..3, 4..7
/// the minimums 0..3, 8..11 the low nibbles of both for 4..7, whose upper two bits are the top bits of bytes 0..7.
void decode_k_scales(const std::byte* block, int sub_block, const PieceOut& out) {
  const float scale = load_f16(block);
  const float minimum_scale = load_f16(block + 2);
  const auto packed = [block](int index) { return std::to_integer<uint32_t>(block[4 + index]); };
  uint32_t scale_code;
  uint32_t minimum_code;
  if (sub_block < 4) {
    scale_code = packed(sub_block) & 63;
    minimum_code = packed(sub_block + 4) & 63;
  } else {
    scale_code = (packed(sub_block + 4) & 15) | ((packed(sub_block - 4) >> 6) << 4);
    minimum_code = (packed(sub_block + 4) >> 4) | ((packed(sub_block) >> 6) << 4);
  }
  out.scales[0] = scale * static_cast<float>(scale_code);
  out.minimums[0] = -(minimum_scale * static_cast<float>(minimum_code));
}

template <TensorType type>
void decode_piece(const std::byte* block, int piece, const PieceOut& out);

template <>
void decode_piece<TensorType::q4_0>(const std::byte* block, int, const PieceOut& out) {
  out.scales[0] = load_f16(block);
  decode_nibbles(block + 2, out);
}

template <>
void decode_piece<TensorType::q4_1>(const std::byte* block, int, const PieceOut& out) {
  out.scales[0] = load_f16(block);
  out.minimums[0] = load_f16(block + 2);
  decode_nibbles(block + 4, out);
}

template <>
void decode_piece<TensorType::q5_0>(const std::byte* block, int, const PieceOut& out) {
  out.scales[0] = load_f16(block);
  decode_five_bits<128 - 16>(block + 2, block + 6, out);
}

template <>
void decode_piece<TensorType::q5_1>(const std::byte* block, int, const PieceOut& out) {
  out.scales[0] = load_f16(block);
  out.minimums[0] = load_f16(block + 2);
  decode_five_bits<0>(block + 4, block + 8, out);
}

template <>
void decode_piece<TensorType::q8_0>(const std::byte* block, int, const PieceOut& out) {
  out.scales[0] = load_f16(block);
  for (int word = 0; word < 4; ++word) out.store(word, load<uint64_t>(block + 2 + 8 * word) ^ (kOnes << 7));
}

template <>
void decode_piece<TensorType::q4_k>(const std::byte* block, int piece, const PieceOut& out) {
  decode_k_scales(block, piece, out);
  const std::byte* nibbles = block + 16 + (piece / 2) * 32;
  const int shift = (piece % 2) * 4;
  for (int word = 0; word < 4; ++word) out.store(word, (load<uint64_t>(nibbles + 8 * word) >> shift) & kNibbles);
}

template <>
void decode_piece<TensorType::q5_k>(const std::byte* block, int piece, const PieceOut& out) {
  decode_k_scales(block, piece, out);
  const std::byte* fifth_bits = block + 16;  // bit j of byte i: column i of sub-block j
  const std::byte* nibbles = block + 48 + (piece / 2) * 32;
  const int shift = (piece % 2) * 4;
  for (int word = 0; word < 4; ++word) {
    const uint64_t low = (load<uint64_t>(nibbles + 8 * word) >> shift) & kNibbles;
    const uint64_t high = ((load<uint64_t>(fifth_bits + 8 * word) >> piece) & kOnes) << 4;
    out.store(word, low | high);
  }
}

template <>
void decode_piece<TensorType::q6_k>(const std::byte* block, int piece, const PieceOut& out) {
  const int half = piece / 4;  // of the super-block: 64 bytes of low nibbles, 32 bytes of upper bit pairs
  const int part = piece % 4;
  const std::byte* low_bits = block + half * 64 + (part % 2) * 32;
  const std::byte* high_bits = block + 128 + half * 32;
  const float scale = load_f16(block + 208);
  for (int group = 0; group < 2; ++group) {
    out.scales[group] = scale * static_cast<float>(load<int8_t>(block + 192 + 2 * piece + group));
  }
  for (int word = 0; word < 4; ++word) {
    const uint64_t low = (load<uint64_t>(low_bits + 8 * word) >> ((part / 2) * 4)) & kNibbles;
    const uint64_t high = ((load<uint64_t>(high_bits + 8 * word) >> (2 * part)) & (kOnes * 3)) << 4;
    out.store(word, (low | high) + kOnes * (128 - 32));
  }
}

/// Walks a row piece by piece.
struct Cursor {
  Cursor(const TensorTypeInfo& info, const std::byte* row, int64_t first_col)
      : block(row + first_col / info.block_values * info.block_bytes),
        piece(static_cast<int>(first_col % info.block_values) / kPiece),
        block_bytes(info.block_bytes),
        pieces_per_block(info.block_values / kPiece) {}

  void advance() {
    if (++piece == pieces_per_block) {
      piece = 0;
      block += block_bytes;
    }
  }

  const std::byte* block;
  int piece;
  const int block_bytes;
  const int pieces_per_block;
};

template <TensorType type>
void decode_range(const std::byte* row, int64_t first_col, QuantizedRow out) {
  const TensorTypeInfo& info = tensor_type_info(type);
  const int scales_per_piece = kPiece / info.coding.group;
  const int minimums_per_piece = info.coding.has_minimum ? 1 : 0;
  const size_t num_pieces = out.codes.size() / kPiece;
  PieceOut to{.codes = out.codes.data(), .scales = out.scales.data(), .minimums = out.minimums.data()};
  Cursor cursor(info, row, first_col);
  for (size_t i = 0; i < num_pieces; ++i, cursor.advance()) {
    decode_piece<type>(cursor.block, cursor.piece, to);
    to.codes += kPiece;
    to.scales += scales_per_piece;
    to.minimums += minimums_per_piece;
  }
}

/// 16 values of one scale.
template <bool has_minimum>
void scale_codes(const uint8_t* codes, int zero, float scale, float minimum, float* out) {
  for (int i = 0; i < 16; ++i) {
    const float product = scale * static_cast<float>(codes[i] - zero);
    out[i] = has_minimum ? product + minimum : product;
  }
}

template <TensorType type>
void dequantize_range(const std::byte* row, int64_t first_col, std::span<float> out) {
  const TensorTypeInfo& info = tensor_type_info(type);
  const int zero = info.coding.zero;
  const size_t second_scale = info.coding.group == kPiece ? 0 : 1;
  const auto scale_half = info.coding.has_minimum ? scale_codes<true> : scale_codes<false>;
  std::array<uint8_t, kPiece> codes;
  std::array<float, 2> scales;
  float minimum = 0;
  Cursor cursor(info, row, first_col);
  for (size_t done = 0; done < out.size(); done += kPiece, cursor.advance()) {
    decode_piece<type>(cursor.block, cursor.piece,
                       {.codes = codes.data(), .scales = scales.data(), .minimums = &minimum});
    scale_half(codes.data(), zero, scales[0], minimum, out.data() + done);
    scale_half(codes.data() + 16, zero, scales[second_scale], minimum, out.data() + done + 16);
  }
}

using DecodeRange = void (*)(const std::byte*, int64_t, QuantizedRow);
using DequantizeRange = void (*)(const std::byte*, int64_t, std::span<float>);

struct Decoder {
  DecodeRange decode;
  DequantizeRange dequantize;
};

template <TensorType type>
constexpr Decoder decoder() {
  return {decode_range<type>, dequantize_range<type>};
}

constexpr int kFirstQuantized = static_cast<int>(TensorType::q4_0);
constexpr std::array<Decoder, kNumTensorTypes - kFirstQuantized> kDecoders = {
    decoder<TensorType::q4_0>(), decoder<TensorType::q4_1>(), decoder<TensorType::q5_0>(), decoder<TensorType::q5_1>(),
    decoder<TensorType::q8_0>(), decoder<TensorType::q4_k>(), decoder<TensorType::q5_k>(), decoder<TensorType::q6_k>()};

const Decoder& decoder_of(TensorType type) { return kDecoders[static_cast<size_t>(type) - kFirstQuantized]; }

/// The range lies inside the row and, for a quantised type, begins and ends at a piece.
void check_range(const TensorTypeInfo& info, std::span<const std::byte> row, int64_t first_col, size_t num_cols) {
  const auto cols = static_cast<int64_t>(row.size() / static_cast<size_t>(info.block_bytes)) * info.block_values;
  ECHELON_CHECK(first_col >= 0 && first_col <= cols && static_cast<int64_t>(num_cols) <= cols - first_col,
                "columns {} + {} of a row of {}", first_col, num_cols, cols);
  ECHELON_CHECK(info.coding.kind == Coding::Kind::floats || (first_col % kPiece == 0 && num_cols % kPiece == 0),
                "columns {} + {} of a quantised row", first_col, num_cols);
}

/// f16_to_float without branches, so that a loop over it vectorises; no subnormal float32 on the way, so that it is
/// exact whatever the thread's handling of those.
float widen_f16(uint16_t bits) {
  const uint32_t magnitude = uint32_t{bits & 0x7fffu} << 13;
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t normal = magnitude + (uint32_t{112} << 23);
  const uint32_t infinite = magnitude + (uint32_t{224} << 23);
  constexpr float kSmallestNormal = 0x1p-14f;
  const float above = std::bit_cast<float>(magnitude | std::bit_cast<uint32_t>(kSmallestNormal));
  const uint32_t subnormal = std::bit_cast<uint32_t>(above - kSmallestNormal);
  const uint32_t finite = magnitude < (uint32_t{1} << 23) ? subnormal : normal;
  return std::bit_cast<float>(sign | (magnitude >= (uint32_t{31} << 23) ? infinite : finite));
}

void widen(TensorType type, const std::byte* from, std::span<float> out) {
  if (type == TensorType::f32) {
    if (!out.empty()) std::memcpy(out.data(), from, out.size_bytes());
  } else if (type == TensorType::f16) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = widen_f16(load<uint16_t>(from + 2 * i));
  } else {
    for (size_t i = 0; i < out.size(); ++i) out[i] = bf16_to_float(load<uint16_t>(from + 2 * i));
  }
}

}  // namespace

void dequantize(TensorType type, std::span<const std::byte> row, int64_t first_col, std::span<float> out) {
  const TensorTypeInfo& info = tensor_type_info(type);
  check_range(info, row, first_col, out.size());
  if (info.coding.kind == Coding::Kind::floats) {
    widen(type, row.data() + first_col * info.block_bytes, out);
  } else {
    decoder_of(type).dequantize(row.data(), first_col, out);
  }
}

void decode_quantized(TensorType type, std::span<const std::byte> row, int64_t first_col, QuantizedRow out) {
  const TensorTypeInfo& info = tensor_type_info(type);
  ECHELON_CHECK(info.coding.kind != Coding::Kind::floats, "{} has no codes", info.name);
  check_range(info, row, first_col, out.codes.size());
  const size_t num_groups = out.codes.size() / static_cast<size_t>(info.coding.group);
  ECHELON_CHECK(out.scales.size() == num_groups, "{} scales for {} groups", out.scales.size(), num_groups);
  ECHELON_CHECK(!info.coding.has_minimum || out.minimums.size() == num_groups, "{} minimums for {} groups",
                out.minimums.size(), num_groups);
  decoder_of(type).decode(row.data(), first_col, out);
}

}  // namespace echelon
