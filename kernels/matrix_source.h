// A weight matrix as a file holds it, handed to a backend row by row, so that a backend can lay it out as it likes and a file
// format never reaches a kernel. Implemented in engine/weights; tests make their own.
#pragma once

#include <cstdint>
#include <span>

namespace echelon {

/// How the values of a matrix are coded. `floats`: plain numbers. Otherwise value = scale[group] * (code - zero) + minimum[group],
/// with unsigned codes, groups of `group` consecutive columns, group borders at multiples of `group` from column 0.
struct Coding {
  enum class Kind : uint8_t { floats, u4, u8 };
  Kind kind = Kind::floats;
  int group = 32;             ///< 16 or 32; quantised kinds only
  int zero = 0;               ///< 0 or 8 for u4, 128 for u8 (a signed byte is stored with 128 added)
  bool has_minimum = false;
  bool scales_fit_f16 = false;  ///< every scale and minimum is exactly a float16
  enum class FloatKind : uint8_t { f32, f16, bf16 } float_kind = FloatKind::f32;  ///< of the file, `floats` only

  bool operator==(const Coding&) const = default;
};

/// One row, or a piece of one, of a quantised matrix. Filled by MatrixSource::read_quantized.
struct QuantizedRow {
  std::span<uint8_t> codes;     ///< one byte a column, also for u4
  std::span<float> scales;      ///< one a group
  std::span<float> minimums;    ///< one a group; untouched when !has_minimum
};

/// Shape [rows, cols] = [output features, input features]. Immutable; all reads are safe from several threads.
class MatrixSource {
 public:
  virtual ~MatrixSource() = default;
  virtual int64_t rows() const = 0;
  virtual int64_t cols() const = 0;
  virtual Coding coding() const = 0;

  /// Writes values [row, first_col .. first_col + out.size()) as float32: for a quantised matrix the values of the format's
  /// reference dequantisation, bit for bit. first_col and out.size() are multiples of 32 for quantised kinds.
  virtual void read_floats(int64_t row, int64_t first_col, std::span<float> out) const = 0;

  /// Quantised kinds only. first_col and codes.size() are multiples of 32.
  virtual void read_quantized(int64_t row, int64_t first_col, QuantizedRow out) const = 0;
};

}  // namespace echelon
