// A reader of GGUF files, versions 2 and 3 (the format: ggml's docs/gguf.md), little-endian: typed metadata and tensor
// infos. Every count, length, dimension and offset is checked against the file and a named limit before it is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/weights/mapped_file.h"
#include "engine/weights/tensor_type.h"

namespace echelon {

inline constexpr uint64_t kMaxGgufEntries = 1 << 16;  ///< metadata keys in one file
inline constexpr uint64_t kMaxGgufTensors = 1 << 18;
inline constexpr uint64_t kMaxGgufKeyBytes = 1 << 12;     ///< of a metadata key or a tensor's name
inline constexpr uint64_t kMaxGgufStringBytes = 1 << 26;  ///< of one string value
inline constexpr uint64_t kMaxGgufArrayElements = 1 << 24;
inline constexpr int kMaxGgufArrayDepth = 4;  ///< arrays inside arrays; the getters read depth 1 only
inline constexpr uint32_t kMaxGgufDimensions = 4;
inline constexpr uint64_t kMaxGgufAlignment = 1 << 20;

enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

/// "uint32", "string", ...
std::string_view to_string(GgufType type);

/// One metadata value, still in the file's bytes: `payload` is the scalar, the string's characters, or the array's
/// elements.
struct GgufValue {
  GgufType type = GgufType::u8;
  GgufType element_type = GgufType::u8;  ///< arrays only
  uint64_t num_elements = 0;             ///< arrays only
  std::span<const std::byte> payload;
};

struct GgufTensor {
  std::string_view name;
  TensorType type = TensorType::f32;
  std::vector<int64_t> shape;  ///< row-major, outermost first: [out, in]; the reverse of the file's ne
  uint64_t offset = 0;         ///< of the data, from the start of the file
  uint64_t num_bytes = 0;
};

/// Immutable; safe from several threads. String views point into the mapped file and live as long as this object's
/// `map()`.
class GgufFile {
 public:
  /// Reads the header (1 ms for 262,144 tokens, 6 MB). Throws Error(Part::weights) with the file, the field and what is
  /// wrong.
  static std::shared_ptr<const GgufFile> open(const std::string& path);

  const std::string& path() const { return map_->path(); }
  const std::shared_ptr<const MappedFile>& map() const { return map_; }
  uint32_t version() const { return version_; }
  uint64_t data_offset() const { return data_offset_; }

  const std::vector<std::string_view>& keys() const { return keys_; }  ///< in file order
  const std::vector<GgufTensor>& tensors() const { return tensors_; }  ///< in file order
  const GgufTensor* find_tensor(std::string_view name) const;          ///< null when absent
  const GgufValue* find_value(std::string_view key) const;             ///< null when absent
  bool has(std::string_view key) const { return find_value(key) != nullptr; }

  /// find_*: nullopt when the key is absent, Error naming file, key and types when its value has another type or does
  /// not fit: find_int takes any integer type, find_float any float or integer, find_uint any integer that is not
  /// negative.
  std::optional<int64_t> find_int(std::string_view key) const;
  std::optional<uint64_t> find_uint(std::string_view key) const;
  std::optional<double> find_float(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::string_view> find_string(std::string_view key) const;
  std::optional<std::vector<int64_t>> find_ints(std::string_view key) const;  ///< arrays of any integer type
  std::optional<std::vector<float>> find_floats(std::string_view key) const;  ///< arrays of float32 or float64
  std::optional<std::vector<bool>> find_bools(std::string_view key) const;
  std::optional<std::vector<std::string_view>> find_strings(std::string_view key) const;

  /// get_*: as find_*, and an Error when the key is absent.
  int64_t get_int(std::string_view key) const;
  uint64_t get_uint(std::string_view key) const;
  double get_float(std::string_view key) const;
  bool get_bool(std::string_view key) const;
  std::string_view get_string(std::string_view key) const;
  std::vector<int64_t> get_ints(std::string_view key) const;
  std::vector<float> get_floats(std::string_view key) const;
  std::vector<bool> get_bools(std::string_view key) const;
  std::vector<std::string_view> get_strings(std::string_view key) const;

 private:
  friend class GgufParser;
  GgufFile() = default;
  template <typename T>
  T required(std::string_view key, std::optional<T> value, std::string_view expected) const;
  [[noreturn]] void wrong_type(std::string_view key, const GgufValue& value, std::string_view expected) const;
  const GgufValue* find_array(std::string_view key, std::string_view expected) const;

  std::shared_ptr<const MappedFile> map_;
  uint32_t version_ = 0;
  uint64_t data_offset_ = 0;
  std::vector<std::string_view> keys_;
  std::unordered_map<std::string_view, GgufValue> values_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> tensor_index_;
};

}  // namespace echelon
