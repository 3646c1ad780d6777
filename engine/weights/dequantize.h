// Rows of a weight file to float32 or to the neutral quantised form of kernels/matrix_source.h. Pure functions of
// bytes. float32 values equal those of the Python package `gguf` bit for bit; NaN payloads of a broken scale are not
// promised.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/weights/tensor_type.h"
#include "kernels/matrix_source.h"

namespace echelon {

/// Values [first_col, first_col + out.size()) of the row whose bytes are `row` (unaligned is fine). Float types take
/// any range inside the row, quantised types ranges of whole multiples of 32 columns, also inside a super-block. A
/// range outside the row is a bug of the caller and ends the process (ECHELON_CHECK). About 1 ns a value.
void dequantize(TensorType type, std::span<const std::byte> row, int64_t first_col, std::span<float> out);

/// The same range as codes, scales and minimums as tensor_type_info(type).coding says; scale * (code - zero) + minimum
/// in float32, each operation rounded, gives dequantize's values bit for bit. Quantised types only; out.scales (and
/// out.minimums when the coding has them) hold out.codes.size() / coding.group values.
void decode_quantized(TensorType type, std::span<const std::byte> row, int64_t first_col, QuantizedRow out);

}  // namespace echelon
