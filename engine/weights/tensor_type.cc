// The table of element types, and ggml's numbers and names for them.
// The numbers are those of ggml's public type list; layouts that this reader does not know have only a name here.
#include "engine/weights/tensor_type.h"

#include <array>

#include "kernels/base/check.h"

namespace echelon {
namespace {

using Kind = Coding::Kind;
using FloatKind = Coding::FloatKind;

constexpr Coding floats(FloatKind kind) { return {.kind = Kind::floats, .float_kind = kind}; }

constexpr Coding codes(Kind kind, int group, int zero, bool has_minimum, bool scales_fit_f16) {
  return {.kind = kind, .group = group, .zero = zero, .has_minimum = has_minimum, .scales_fit_f16 = scales_fit_f16};
}

constexpr std::array<TensorTypeInfo, kNumTensorTypes> kTypes = {{
    {.name = "F32", .block_values = 1, .block_bytes = 4, .coding = floats(FloatKind::f32)},
    {.name = "F16", .block_values = 1, .block_bytes = 2, .coding = floats(FloatKind::f16)},
    {.name = "BF16", .block_values = 1, .block_bytes = 2, .coding = floats(FloatKind::bf16)},
    {.name = "Q4_0", .block_values = 32, .block_bytes = 18, .coding = codes(Kind::u4, 32, 8, false, true)},
    {.name = "Q4_1", .block_values = 32, .block_bytes = 20, .coding = codes(Kind::u4, 32, 0, true, true)},
    {.name = "Q5_0", .block_values = 32, .block_bytes = 22, .coding = codes(Kind::u8, 32, 128, false, true)},
    {.name = "Q5_1", .block_values = 32, .block_bytes = 24, .coding = codes(Kind::u8, 32, 0, true, true)},
    {.name = "Q8_0", .block_values = 32, .block_bytes = 34, .coding = codes(Kind::u8, 32, 128, false, true)},
    {.name = "Q4_K", .block_values = 256, .block_bytes = 144, .coding = codes(Kind::u4, 32, 0, true, false)},
    {.name = "Q5_K", .block_values = 256, .block_bytes = 176, .coding = codes(Kind::u8, 32, 0, true, false)},
    {.name = "Q6_K", .block_values = 256, .block_bytes = 210, .coding = codes(Kind::u8, 16, 128, false, false)},
}};

struct GgmlType {
  std::string_view name = "unknown";
  TensorType type = TensorType::unreadable;
};

constexpr uint32_t kNumGgmlTypes = 40;

constexpr std::array<GgmlType, kNumGgmlTypes> kGgmlTypes = {{
    {"F32", TensorType::f32},
    {"F16", TensorType::f16},
    {"Q4_0", TensorType::q4_0},
    {"Q4_1", TensorType::q4_1},
    {},  // 4 and 5: withdrawn
    {},
    {"Q5_0", TensorType::q5_0},
    {"Q5_1", TensorType::q5_1},
    {"Q8_0", TensorType::q8_0},
    {"Q8_1"},
    {"Q2_K"},
    {"Q3_K"},
    {"Q4_K", TensorType::q4_k},
    {"Q5_K", TensorType::q5_k},
    {"Q6_K", TensorType::q6_k},
    {"Q8_K"},
    {"IQ2_XXS"},
    {"IQ2_XS"},
    {"IQ3_XXS"},
    {"IQ1_S"},
    {"IQ4_NL"},
    {"IQ3_S"},
    {"IQ2_S"},
    {"IQ4_XS"},
    {"I8"},
    {"I16"},
    {"I32"},
    {"I64"},
    {"F64"},
    {"IQ1_M"},
    {"BF16", TensorType::bf16},
    {},  // 31 to 33: withdrawn
    {},
    {},
    {"TQ1_0"},
    {"TQ2_0"},
    {},  // 36 to 38: withdrawn
    {},
    {},
    {"MXFP4"},
}};

constexpr int64_t kMaxCols = int64_t{1} << 48;

}  // namespace

const TensorTypeInfo& tensor_type_info(TensorType type) {
  const auto index = static_cast<size_t>(type);
  ECHELON_CHECK(index < kTypes.size(), "tensor type {} has no layout", index);
  return kTypes[index];
}

std::optional<TensorType> tensor_type_from_ggml(uint32_t ggml_type) {
  if (ggml_type >= kNumGgmlTypes || kGgmlTypes[ggml_type].type == TensorType::unreadable) return std::nullopt;
  return kGgmlTypes[ggml_type].type;
}

std::string_view ggml_type_name(uint32_t ggml_type) {
  return ggml_type < kNumGgmlTypes ? kGgmlTypes[ggml_type].name : std::string_view("unknown");
}

std::optional<uint64_t> tensor_row_bytes(TensorType type, int64_t cols) {
  const TensorTypeInfo& info = tensor_type_info(type);
  if (cols < 1 || cols > kMaxCols || cols % info.block_values != 0) return std::nullopt;
  return static_cast<uint64_t>(cols / info.block_values) * static_cast<uint64_t>(info.block_bytes);
}

}  // namespace echelon
