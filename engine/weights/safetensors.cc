// SafetensorsFile::open: the header's JSON is bounded before it is parsed, every tensor is checked on its own, and then
// all together: sorted by offset they must follow each other from the first byte of the data to the last.
#include "engine/weights/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstring>
#include <optional>

#include "engine/weights/json_file.h"
#include "engine/weights/printable.h"
#include "kernels/base/error.h"

namespace echelon {
namespace {

constexpr uint64_t kPrefixBytes = 8;

struct Dtype {
  std::string_view name;
  uint64_t num_bytes;
  TensorType type = TensorType::unreadable;
};

/// Sizes are known for the types of a byte and more; a type that is not in the list has its size taken from its
/// offsets.
constexpr std::array<Dtype, 14> kDtypes = {{{"BF16", 2, TensorType::bf16},
                                            {"F16", 2, TensorType::f16},
                                            {"F32", 4, TensorType::f32},
                                            {"F64", 8},
                                            {"I64", 8},
                                            {"U64", 8},
                                            {"I32", 4},
                                            {"U32", 4},
                                            {"I16", 2},
                                            {"U16", 2},
                                            {"I8", 1},
                                            {"U8", 1},
                                            {"BOOL", 1},
                                            {"F8_E4M3", 1}}};

const Dtype* find_dtype(std::string_view name) {
  for (const Dtype& dtype : kDtypes) {
    if (dtype.name == name) return &dtype;
  }
  return nullptr;
}

class Checker {
 public:
  explicit Checker(const MappedFile& file) : file_(file) {}

  std::vector<SafetensorsTensor> run();

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(Part::weights, fmt::format("{}: {}", file_.path(), message));
  }

  SafetensorsTensor tensor(const std::string& name, const JsonObject& entry) const;
  std::optional<uint64_t> expected_bytes(const SafetensorsTensor& tensor) const;
  void check_cover(const std::vector<SafetensorsTensor>& tensors) const;

  const MappedFile& file_;
  uint64_t data_begin_ = 0;
  uint64_t data_bytes_ = 0;
};

/// Bytes that dtype and shape make; nullopt when the dtype is not one we know.
std::optional<uint64_t> Checker::expected_bytes(const SafetensorsTensor& tensor) const {
  const Dtype* dtype = find_dtype(tensor.type_name);
  uint64_t num_bytes = dtype == nullptr ? 1 : dtype->num_bytes;
  for (const int64_t dimension : tensor.shape) {
    if (__builtin_mul_overflow(num_bytes, static_cast<uint64_t>(dimension), &num_bytes)) {
      fail(fmt::format("tensor \"{}\": \"shape\" {} has a size that overflows", printable(tensor.name), tensor.shape));
    }
  }
  if (dtype == nullptr) return std::nullopt;
  return num_bytes;
}

SafetensorsTensor Checker::tensor(const std::string& name, const JsonObject& entry) const {
  const std::string field = fmt::format("tensor \"{}\"", printable(name));
  SafetensorsTensor out;
  out.name = name;
  out.type_name = printable(entry.get_string("dtype"));
  const Dtype* dtype = find_dtype(out.type_name);
  out.type = dtype == nullptr ? TensorType::unreadable : dtype->type;
  const boost::json::value* shape = entry.find_value("shape");
  if (shape == nullptr || !shape->is_array()) fail(field + ": \"shape\" must be a list of integers");
  if (shape->get_array().size() > kMaxSafetensorsDimensions) {
    fail(fmt::format("{}: \"shape\" has {} dimensions; at most {} are allowed", field, shape->get_array().size(),
                     kMaxSafetensorsDimensions));
  }
  out.shape = *entry.find_ints("shape");
  for (const int64_t dimension : out.shape) {
    if (dimension < 0) fail(fmt::format("{}: \"shape\" has the dimension {}", field, dimension));
  }
  const auto offsets = entry.find_ints("data_offsets");
  if (!offsets || offsets->size() != 2) fail(field + ": \"data_offsets\" must be two integers");
  const int64_t begin = (*offsets)[0];
  const int64_t end = (*offsets)[1];
  if (begin < 0 || end < begin || static_cast<uint64_t>(end) > data_bytes_) {
    fail(fmt::format("{}: \"data_offsets\" [{}, {}] do not lie in the data of {} bytes", field, begin, end,
                     data_bytes_));
  }
  out.offset = data_begin_ + static_cast<uint64_t>(begin);
  out.num_bytes = static_cast<uint64_t>(end - begin);
  const auto expected = expected_bytes(out);
  if (expected && *expected != out.num_bytes) {
    fail(fmt::format("{}: \"dtype\" {} and \"shape\" {} make {} bytes, \"data_offsets\" hold {}", field, out.type_name,
                     out.shape, *expected, out.num_bytes));
  }
  return out;
}

void Checker::check_cover(const std::vector<SafetensorsTensor>& tensors) const {
  uint64_t covered = data_begin_;
  for (const SafetensorsTensor& tensor : tensors) {
    if (tensor.offset != covered) {
      fail(fmt::format("tensor \"{}\": \"data_offsets\" begin at {}; {} before it end at {}", printable(tensor.name),
                       tensor.offset - data_begin_,
                       tensor.offset < covered ? "overlapping, the tensors" : "the tensors", covered - data_begin_));
    }
    covered += tensor.num_bytes;
  }
  if (covered - data_begin_ != data_bytes_) {
    fail(fmt::format("\"data_offsets\" of the last tensor end at {}, the data has {} bytes", covered - data_begin_,
                     data_bytes_));
  }
}

std::vector<SafetensorsTensor> Checker::run() {
  const auto bytes = file_.bytes();
  if (bytes.size() < kPrefixBytes) fail("is not a safetensors file: it has no header size");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kPrefixBytes);
  if (header_bytes > kMaxSafetensorsHeaderBytes || header_bytes > bytes.size() - kPrefixBytes) {
    fail(fmt::format("the header size is {} bytes; the file has {} and at most {} are allowed", header_bytes,
                     bytes.size() - kPrefixBytes, kMaxSafetensorsHeaderBytes));
  }
  data_begin_ = kPrefixBytes + header_bytes;
  data_bytes_ = bytes.size() - data_begin_;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kPrefixBytes, header_bytes);
  const JsonObject header = parse_json_object(text, file_.path() + ": header");
  if (header.raw().size() > kMaxSafetensorsTensors + 1) {
    fail(fmt::format("the header lists {} tensors; at most {} are allowed", header.raw().size(),
                     kMaxSafetensorsTensors));
  }
  std::vector<SafetensorsTensor> tensors;
  for (const auto& [key, value] : header.raw()) {
    const std::string name(key.data(), key.size());
    if (name != "__metadata__") tensors.push_back(tensor(name, header.get_object(name)));
  }
  std::sort(tensors.begin(), tensors.end(), [](const SafetensorsTensor& a, const SafetensorsTensor& b) {
    return std::pair(a.offset, a.num_bytes) < std::pair(b.offset, b.num_bytes);
  });
  check_cover(tensors);
  return tensors;
}

}  // namespace

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile());
  file->map_ = MappedFile::open(path);
  file->tensors_ = Checker(*file->map_).run();
  return file;
}

}  // namespace echelon
