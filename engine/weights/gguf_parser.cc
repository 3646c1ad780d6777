// GgufFile::open: one pass over the header, each field checked before it is used, nothing allocated by a size from the
// file before that many bytes are known to be there.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "engine/weights/gguf.h"
#include "engine/weights/printable.h"
#include "kernels/base/error.h"

namespace echelon {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kMinVersion = 2;
constexpr uint32_t kMaxVersion = 3;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMinKeyRecordBytes = 8 + 4 + 1;                 ///< key size, type, one byte of value
constexpr uint64_t kMinTensorRecordBytes = 8 + 1 + 4 + 8 + 4 + 8;  ///< name of one byte, one dimension
constexpr int64_t kMaxDimension = int64_t{1} << 40;

/// Bytes of one scalar; 0 for strings and arrays.
uint64_t scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    case GgufType::string:
    case GgufType::array:
      return 0;
  }
  return 0;
}

}  // namespace

/// Reads forward through the header. `field` names what is being read, for messages.
class GgufParser {
 public:
  explicit GgufParser(std::shared_ptr<const MappedFile> map) : map_(std::move(map)), bytes_(map_->bytes()) {}

  std::shared_ptr<const GgufFile> parse();

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(Part::weights, fmt::format("{}: {}", map_->path(), message));
  }

  uint64_t left() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(uint64_t num_bytes, const std::string& field) {
    if (num_bytes > left()) {
      fail(fmt::format("the file ends inside {}: {} bytes needed at offset {}, {} left", field, num_bytes, position_,
                       left()));
    }
    const auto taken = bytes_.subspan(position_, num_bytes);
    position_ += num_bytes;
    return taken;
  }

  template <typename T>
  T number(const std::string& field) {
    T value;
    std::memcpy(&value, take(sizeof(T), field).data(), sizeof(T));
    return value;
  }

  std::string_view string(const std::string& field, uint64_t max_bytes) {
    const auto size = number<uint64_t>(field);
    if (size > max_bytes)
      fail(fmt::format("{} has a length of {} bytes; at most {} are allowed", field, size, max_bytes));
    const auto taken = take(size, field);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  GgufType value_type(const std::string& field);
  GgufValue value(const std::string& field);
  void array(const std::string& field, int depth, GgufValue* value);
  void header(GgufFile& file);
  void metadata(GgufFile& file);
  uint64_t alignment(const GgufFile& file) const;
  void tensor(GgufFile& file, uint64_t index);
  void place_tensors(GgufFile& file) const;

  std::shared_ptr<const MappedFile> map_;
  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
  uint64_t num_keys_ = 0;
  uint64_t num_tensors_ = 0;
};

GgufType GgufParser::value_type(const std::string& field) {
  const auto type = number<uint32_t>(field);
  if (type > static_cast<uint32_t>(GgufType::f64)) fail(fmt::format("{} has the unknown value type {}", field, type));
  return static_cast<GgufType>(type);
}

/// `value` is null for an array inside an array, which is only skipped.
void GgufParser::array(const std::string& field, int depth, GgufValue* value) {
  if (depth > kMaxGgufArrayDepth) fail(fmt::format("{} nests arrays deeper than {}", field, kMaxGgufArrayDepth));
  const GgufType element_type = value_type(field);
  const auto count = number<uint64_t>(field);
  if (count > kMaxGgufArrayElements) {
    fail(fmt::format("{} has {} elements; at most {} are allowed", field, count, kMaxGgufArrayElements));
  }
  const uint64_t begin = position_;
  if (element_type == GgufType::string) {
    for (uint64_t i = 0; i < count; ++i) string(field, kMaxGgufStringBytes);
  } else if (element_type == GgufType::array) {
    for (uint64_t i = 0; i < count; ++i) array(field, depth + 1, nullptr);
  } else {
    take(count * scalar_bytes(element_type), field);
  }
  if (value != nullptr) {
    value->element_type = element_type;
    value->num_elements = count;
    value->payload = bytes_.subspan(begin, position_ - begin);
  }
}

GgufValue GgufParser::value(const std::string& field) {
  GgufValue value;
  value.type = value_type(field);
  if (value.type == GgufType::array) {
    array(field, 1, &value);
  } else if (value.type == GgufType::string) {
    const std::string_view text = string(field, kMaxGgufStringBytes);
    value.payload = std::as_bytes(std::span(text));
  } else {
    value.payload = take(scalar_bytes(value.type), field);
  }
  return value;
}

void GgufParser::header(GgufFile& file) {
  if (number<uint32_t>("the magic number") != kMagic) fail("is not a GGUF file: it does not begin with \"GGUF\"");
  file.version_ = number<uint32_t>("the version");
  if (file.version_ >= (uint32_t{1} << 24) && (file.version_ & 0xffff) == 0)
    fail("is a big-endian GGUF file; little-endian is needed");
  if (file.version_ < kMinVersion || file.version_ > kMaxVersion) {
    fail(fmt::format("has GGUF version {}; {} to {} can be read", file.version_, kMinVersion, kMaxVersion));
  }
  num_tensors_ = number<uint64_t>("tensor_count");
  num_keys_ = number<uint64_t>("metadata_kv_count");
  if (num_tensors_ > std::min(kMaxGgufTensors, left() / kMinTensorRecordBytes)) {
    fail(fmt::format("tensor_count is {}; the file has room for {} and at most {} are allowed", num_tensors_,
                     left() / kMinTensorRecordBytes, kMaxGgufTensors));
  }
  if (num_keys_ > std::min(kMaxGgufEntries, left() / kMinKeyRecordBytes)) {
    fail(fmt::format("metadata_kv_count is {}; the file has room for {} and at most {} are allowed", num_keys_,
                     left() / kMinKeyRecordBytes, kMaxGgufEntries));
  }
}

void GgufParser::metadata(GgufFile& file) {
  file.keys_.reserve(num_keys_);
  file.values_.reserve(num_keys_);
  for (uint64_t i = 0; i < num_keys_; ++i) {
    const std::string_view key = string(fmt::format("the name of metadata key {}", i), kMaxGgufKeyBytes);
    if (key.empty()) fail(fmt::format("metadata key {} has an empty name", i));
    const GgufValue parsed = value(fmt::format("metadata key \"{}\"", printable(key)));
    if (!file.values_.emplace(key, parsed).second)
      fail(fmt::format("metadata key \"{}\" occurs twice", printable(key)));
    file.keys_.push_back(key);
  }
}

uint64_t GgufParser::alignment(const GgufFile& file) const {
  const uint64_t alignment = file.find_uint("general.alignment").value_or(kDefaultAlignment);
  if (!std::has_single_bit(alignment) || alignment > kMaxGgufAlignment) {
    fail(fmt::format("general.alignment is {}; a power of two up to {} is needed", alignment, kMaxGgufAlignment));
  }
  return alignment;
}

void GgufParser::tensor(GgufFile& file, uint64_t index) {
  GgufTensor tensor;
  tensor.name = string(fmt::format("the name of tensor {}", index), kMaxGgufKeyBytes);
  if (tensor.name.empty()) fail(fmt::format("tensor {} has an empty name", index));
  const std::string field = fmt::format("tensor \"{}\"", printable(tensor.name));
  const auto num_dimensions = number<uint32_t>(field + ", number of dimensions");
  if (num_dimensions < 1 || num_dimensions > kMaxGgufDimensions) {
    fail(fmt::format("{} has {} dimensions; 1 to {} are allowed", field, num_dimensions, kMaxGgufDimensions));
  }
  int64_t num_rows = 1;
  for (uint32_t i = 0; i < num_dimensions; ++i) {
    const auto dimension = number<uint64_t>(field + ", dimensions");
    if (dimension < 1 || dimension > static_cast<uint64_t>(kMaxDimension)) {
      fail(fmt::format("{} has a dimension of {}; 1 to {} are allowed", field, dimension, kMaxDimension));
    }
    tensor.shape.push_back(static_cast<int64_t>(dimension));
    if (i > 0 && __builtin_mul_overflow(num_rows, tensor.shape.back(), &num_rows)) {
      fail(fmt::format("{} has dimensions {} whose product overflows", field, tensor.shape));
    }
  }
  std::reverse(tensor.shape.begin(), tensor.shape.end());
  const auto ggml_type = number<uint32_t>(field + ", type");
  const auto type = tensor_type_from_ggml(ggml_type);
  if (!type) {
    fail(
        fmt::format("{} has type {} ({}), which cannot be read; F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, "
                    "Q5_K and Q6_K can",
                    field, ggml_type, ggml_type_name(ggml_type)));
  }
  tensor.type = *type;
  const auto row_bytes = tensor_row_bytes(tensor.type, tensor.shape.back());
  if (!row_bytes) {
    const TensorTypeInfo& info = tensor_type_info(tensor.type);
    fail(fmt::format("{} has rows of {} values; {} has blocks of {}", field, tensor.shape.back(), info.name,
                     info.block_values));
  }
  if (__builtin_mul_overflow(static_cast<uint64_t>(num_rows), *row_bytes, &tensor.num_bytes)) {
    fail(fmt::format("{} with shape {} has a size that overflows", field, tensor.shape));
  }
  tensor.offset = number<uint64_t>(field + ", offset");
  if (!file.tensor_index_.emplace(tensor.name, file.tensors_.size()).second) fail(field + " occurs twice");
  file.tensors_.push_back(std::move(tensor));
}

/// Turns offsets into the data section into offsets into the file, and checks that the data is there and does not
/// overlap.
void GgufParser::place_tensors(GgufFile& file) const {
  const uint64_t align = alignment(file);
  file.data_offset_ = (position_ + align - 1) / align * align;
  const uint64_t data_bytes = bytes_.size() - std::min<uint64_t>(file.data_offset_, bytes_.size());
  std::vector<const GgufTensor*> by_offset;
  by_offset.reserve(file.tensors_.size());
  for (GgufTensor& tensor : file.tensors_) {
    const std::string field = fmt::format("tensor \"{}\"", printable(tensor.name));
    if (tensor.offset % align != 0) {
      fail(fmt::format("{} has offset {}, not a multiple of general.alignment {}", field, tensor.offset, align));
    }
    if (tensor.num_bytes > data_bytes || tensor.offset > data_bytes - tensor.num_bytes) {
      fail(
          fmt::format("{} has {} bytes at offset {} of a data section of {} bytes: the file is cut off, or offset or "
                      "dimensions {} are wrong",
                      field, tensor.num_bytes, tensor.offset, data_bytes, tensor.shape));
    }
    tensor.offset += file.data_offset_;
    by_offset.push_back(&tensor);
  }
  std::sort(by_offset.begin(), by_offset.end(), [](auto* a, auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    if (by_offset[i - 1]->offset + by_offset[i - 1]->num_bytes > by_offset[i]->offset) {
      fail(fmt::format("tensors \"{}\" and \"{}\" overlap: an offset is wrong", printable(by_offset[i - 1]->name),
                       printable(by_offset[i]->name)));
    }
  }
}

std::shared_ptr<const GgufFile> GgufParser::parse() {
  std::shared_ptr<GgufFile> file(new GgufFile());
  file->map_ = map_;
  header(*file);
  metadata(*file);
  file->tensors_.reserve(num_tensors_);
  file->tensor_index_.reserve(num_tensors_);
  for (uint64_t i = 0; i < num_tensors_; ++i) tensor(*file, i);
  place_tensors(*file);
  return file;
}

std::shared_ptr<const GgufFile> GgufFile::open(const std::string& path) {
  return GgufParser(MappedFile::open(path)).parse();
}

}  // namespace echelon
