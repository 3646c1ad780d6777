// Typed access to the metadata of a GGUF file; values are decoded from the mapped bytes when asked for.
// The parser (gguf_parser.cc) has checked every length, so that decoding only converts.
#include "engine/weights/gguf.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/base/error.h"

namespace echelon {
namespace {

template <typename T>
T load(std::span<const std::byte> payload, uint64_t index = 0) {
  T value;
  std::memcpy(&value, payload.data() + index * sizeof(T), sizeof(T));
  return value;
}

bool is_integer(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::u16:
    case GgufType::i16:
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::u64:
    case GgufType::i64:
      return true;
    default:
      return false;
  }
}

/// Element `index` of integers of `type`; nullopt for a uint64 beyond int64.
std::optional<int64_t> integer_at(GgufType type, std::span<const std::byte> payload, uint64_t index) {
  switch (type) {
    case GgufType::u8:
      return load<uint8_t>(payload, index);
    case GgufType::i8:
      return load<int8_t>(payload, index);
    case GgufType::u16:
      return load<uint16_t>(payload, index);
    case GgufType::i16:
      return load<int16_t>(payload, index);
    case GgufType::u32:
      return load<uint32_t>(payload, index);
    case GgufType::i32:
      return load<int32_t>(payload, index);
    case GgufType::i64:
      return load<int64_t>(payload, index);
    default:
      break;
  }
  const auto value = load<uint64_t>(payload, index);
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return static_cast<int64_t>(value);
}

std::string describe(const GgufValue& value) {
  if (value.type != GgufType::array) return std::string(to_string(value.type));
  return fmt::format("an array of {} {}", value.num_elements, to_string(value.element_type));
}

}  // namespace

std::string_view to_string(GgufType type) {
  static constexpr std::array<std::string_view, 13> kNames = {"uint8",  "int8",    "uint16",  "int16",  "uint32",
                                                              "int32",  "float32", "boolean", "string", "array",
                                                              "uint64", "int64",   "float64"};
  const auto index = static_cast<size_t>(type);
  return index < kNames.size() ? kNames[index] : "unknown";
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

const GgufValue* GgufFile::find_value(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

void GgufFile::wrong_type(std::string_view key, const GgufValue& value, std::string_view expected) const {
  throw Error(Part::weights,
              fmt::format("{}: metadata key \"{}\" is {}; {} is needed", path(), key, describe(value), expected));
}

template <typename T>
T GgufFile::required(std::string_view key, std::optional<T> value, std::string_view expected) const {
  if (!value) throw Error(Part::weights, fmt::format("{}: metadata key \"{}\" ({}) is missing", path(), key, expected));
  return *std::move(value);
}

std::optional<int64_t> GgufFile::find_int(std::string_view key) const {
  const GgufValue* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  if (!is_integer(value->type)) wrong_type(key, *value, "an integer");
  const auto number = integer_at(value->type, value->payload, 0);
  if (!number) wrong_type(key, *value, "an integer below 2^63");
  return number;
}

std::optional<uint64_t> GgufFile::find_uint(std::string_view key) const {
  const GgufValue* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  if (value->type == GgufType::u64) return load<uint64_t>(value->payload);
  const int64_t number = *find_int(key);
  if (number < 0) {
    throw Error(Part::weights,
                fmt::format("{}: metadata key \"{}\" is {}; it must not be negative", path(), key, number));
  }
  return static_cast<uint64_t>(number);
}

std::optional<double> GgufFile::find_float(std::string_view key) const {
  const GgufValue* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  if (value->type == GgufType::f32) return load<float>(value->payload);
  if (value->type == GgufType::f64) return load<double>(value->payload);
  if (!is_integer(value->type)) wrong_type(key, *value, "a number");
  return static_cast<double>(*find_int(key));
}

std::optional<bool> GgufFile::find_bool(std::string_view key) const {
  const GgufValue* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::boolean) wrong_type(key, *value, "a boolean");
  return load<uint8_t>(value->payload) != 0;
}

std::optional<std::string_view> GgufFile::find_string(std::string_view key) const {
  const GgufValue* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::string) wrong_type(key, *value, "a string");
  return std::string_view(reinterpret_cast<const char*>(value->payload.data()), value->payload.size());
}

const GgufValue* GgufFile::find_array(std::string_view key, std::string_view expected) const {
  const GgufValue* value = find_value(key);
  if (value != nullptr && value->type != GgufType::array) wrong_type(key, *value, expected);
  return value;
}

std::optional<std::vector<int64_t>> GgufFile::find_ints(std::string_view key) const {
  const GgufValue* value = find_array(key, "an array of integers");
  if (value == nullptr) return std::nullopt;
  if (!is_integer(value->element_type)) wrong_type(key, *value, "an array of integers");
  std::vector<int64_t> out(value->num_elements);
  for (uint64_t i = 0; i < out.size(); ++i) {
    const auto number = integer_at(value->element_type, value->payload, i);
    if (!number) wrong_type(key, *value, "an array of integers below 2^63");
    out[i] = *number;
  }
  return out;
}

std::optional<std::vector<float>> GgufFile::find_floats(std::string_view key) const {
  const GgufValue* value = find_array(key, "an array of floats");
  if (value == nullptr) return std::nullopt;
  const bool narrow = value->element_type == GgufType::f32;
  if (!narrow && value->element_type != GgufType::f64) wrong_type(key, *value, "an array of floats");
  std::vector<float> out(value->num_elements);
  for (uint64_t i = 0; i < out.size(); ++i) {
    out[i] = narrow ? load<float>(value->payload, i) : static_cast<float>(load<double>(value->payload, i));
  }
  return out;
}

std::optional<std::vector<bool>> GgufFile::find_bools(std::string_view key) const {
  const GgufValue* value = find_array(key, "an array of booleans");
  if (value == nullptr) return std::nullopt;
  if (value->element_type != GgufType::boolean) wrong_type(key, *value, "an array of booleans");
  std::vector<bool> out(value->num_elements);
  for (uint64_t i = 0; i < out.size(); ++i) out[i] = load<uint8_t>(value->payload, i) != 0;
  return out;
}

std::optional<std::vector<std::string_view>> GgufFile::find_strings(std::string_view key) const {
  const GgufValue* value = find_array(key, "an array of strings");
  if (value == nullptr) return std::nullopt;
  if (value->element_type != GgufType::string) wrong_type(key, *value, "an array of strings");
  std::vector<std::string_view> out(value->num_elements);
  std::span<const std::byte> left = value->payload;
  for (std::string_view& text : out) {
    const auto size = load<uint64_t>(left);
    text = {reinterpret_cast<const char*>(left.data()) + sizeof(uint64_t), size};
    left = left.subspan(sizeof(uint64_t) + size);
  }
  return out;
}

int64_t GgufFile::get_int(std::string_view key) const { return required(key, find_int(key), "an integer"); }
uint64_t GgufFile::get_uint(std::string_view key) const { return required(key, find_uint(key), "an integer"); }
double GgufFile::get_float(std::string_view key) const { return required(key, find_float(key), "a number"); }
bool GgufFile::get_bool(std::string_view key) const { return required(key, find_bool(key), "a boolean"); }
std::string_view GgufFile::get_string(std::string_view key) const {
  return required(key, find_string(key), "a string");
}
std::vector<int64_t> GgufFile::get_ints(std::string_view key) const {
  return required(key, find_ints(key), "an array of integers");
}
std::vector<float> GgufFile::get_floats(std::string_view key) const {
  return required(key, find_floats(key), "an array of floats");
}
std::vector<bool> GgufFile::get_bools(std::string_view key) const {
  return required(key, find_bools(key), "an array of booleans");
}
std::vector<std::string_view> GgufFile::get_strings(std::string_view key) const {
  return required(key, find_strings(key), "an array of strings");
}

}  // namespace echelon
