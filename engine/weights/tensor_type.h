// The element types of weight files: how many values a block holds, in how many bytes, and in which neutral coding a
// backend gets them. The layouts of the quantised types are in dequantize.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/matrix_source.h"

namespace echelon {

/// `unreadable`: a type that a file may hold beside its weights (an integer buffer in a safetensors file); a tensor of
/// it is listed, and asking for its values is an error.
enum class TensorType : uint8_t { f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k, unreadable };
inline constexpr int kNumTensorTypes = 11;  ///< the readable ones, from 0

struct TensorTypeInfo {
  std::string_view name;  ///< "Q4_1"
  int block_values = 1;   ///< consecutive columns in one block; rows are whole blocks
  int block_bytes = 0;
  Coding coding;
};

/// Of a readable type. Static storage, no cost.
const TensorTypeInfo& tensor_type_info(TensorType type);

/// GGUF's number for a type (ggml_type); nullopt when this reader does not know the layout.
std::optional<TensorType> tensor_type_from_ggml(uint32_t ggml_type);

/// GGUF's name for a number of the ggml_type list, readable here or not ("IQ4_XS"); "unknown" outside the list.
std::string_view ggml_type_name(uint32_t ggml_type);

/// Bytes of one row; nullopt when cols is not in 1..2^48 or not a whole number of blocks.
std::optional<uint64_t> tensor_row_bytes(TensorType type, int64_t cols);

}  // namespace echelon
