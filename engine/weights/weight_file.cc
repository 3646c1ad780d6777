// Tensors by name, and the MatrixSource over the bytes of one.
// Nothing is read at opening: pages come in when a backend asks for rows.
#include "engine/weights/weight_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/weights/dequantize.h"
#include "engine/weights/printable.h"
#include "kernels/base/check.h"
#include "kernels/base/error.h"

namespace echelon {
namespace {

class FileMatrix final : public MatrixSource {
 public:
  FileMatrix(const WeightFile::Tensor& tensor, uint64_t row_bytes)
      : file_(tensor.file),
        data_(tensor.data),
        type_(tensor.info.type),
        rows_(tensor.info.shape[0]),
        cols_(tensor.info.shape[1]),
        row_bytes_(row_bytes) {}

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  Coding coding() const override { return tensor_type_info(type_).coding; }

  void read_floats(int64_t row, int64_t first_col, std::span<float> out) const override {
    dequantize(type_, row_data(row), first_col, out);
  }

  void read_quantized(int64_t row, int64_t first_col, QuantizedRow out) const override {
    decode_quantized(type_, row_data(row), first_col, out);
  }

 private:
  std::span<const std::byte> row_data(int64_t row) const {
    ECHELON_CHECK(row >= 0 && row < rows_, "row {} of {}", row, rows_);
    return data_.subspan(static_cast<uint64_t>(row) * row_bytes_, row_bytes_);
  }

  std::shared_ptr<const MappedFile> file_;
  std::span<const std::byte> data_;
  TensorType type_;
  int64_t rows_;
  int64_t cols_;
  uint64_t row_bytes_;
};

}  // namespace

WeightFile::WeightFile(std::string path, std::vector<Tensor> tensors)
    : path_(std::move(path)), tensors_(std::move(tensors)) {
  index_.reserve(tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const bool is_new = index_.emplace(tensors_[i].info.name, i).second;
    ECHELON_CHECK(is_new, "tensor {} occurs twice", tensors_[i].info.name);
  }
}

const TensorInfo* WeightFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second].info;
}

uint64_t WeightFile::num_bytes() const {
  uint64_t sum = 0;
  for (const Tensor& tensor : tensors_) sum += tensor.info.num_bytes;
  return sum;
}

/// A tensor whose values can be read.
const WeightFile::Tensor& WeightFile::at(std::string_view name) const {
  const auto found = index_.find(name);
  if (found == index_.end()) {
    throw Error(Part::weights, fmt::format("{}: tensor \"{}\" is missing", path_, printable(name)));
  }
  const Tensor& tensor = tensors_[found->second];
  if (tensor.info.type == TensorType::unreadable) {
    throw Error(Part::weights, fmt::format("{}: tensor \"{}\" has type {}, which cannot be read; BF16, F16 and F32 can",
                                           tensor.file->path(), printable(name), tensor.info.type_name));
  }
  return tensor;
}

void WeightFile::wrong_shape(const Tensor& tensor, const std::string& expected) const {
  throw Error(Part::weights, fmt::format("{}: tensor \"{}\" has shape {}; {} is needed", tensor.file->path(),
                                         printable(tensor.info.name), tensor.info.shape, expected));
}

std::shared_ptr<const MatrixSource> WeightFile::matrix(std::string_view name) const {
  const Tensor& tensor = at(name);
  if (tensor.info.shape.size() != 2) wrong_shape(tensor, "a matrix of two dimensions");
  if (tensor.info.num_bytes == 0) wrong_shape(tensor, "a matrix that is not empty");
  const auto row_bytes = tensor_row_bytes(tensor.info.type, tensor.info.shape[1]);
  if (!row_bytes) wrong_shape(tensor, fmt::format("a row of whole {} blocks", tensor.info.type_name));
  return std::make_shared<FileMatrix>(tensor, *row_bytes);
}

std::shared_ptr<const MatrixSource> WeightFile::matrix(std::string_view name, int64_t rows, int64_t cols) const {
  const Tensor& tensor = at(name);
  if (tensor.info.shape != std::vector<int64_t>{rows, cols}) wrong_shape(tensor, fmt::format("[{}, {}]", rows, cols));
  return matrix(name);
}

std::vector<float> WeightFile::vector(std::string_view name) const {
  const Tensor& tensor = at(name);
  if (tensor.info.shape.size() != 1) wrong_shape(tensor, "a vector of one dimension");
  std::vector<float> out(static_cast<size_t>(tensor.info.shape[0]));
  if (!out.empty()) dequantize(tensor.info.type, tensor.data, 0, out);
  return out;
}

std::vector<float> WeightFile::vector(std::string_view name, int64_t size) const {
  const Tensor& tensor = at(name);
  if (tensor.info.shape != std::vector<int64_t>{size}) wrong_shape(tensor, fmt::format("[{}]", size));
  return vector(name);
}

void WeightFile::read_ahead(std::string_view name, int64_t first_row, int64_t num_rows) const {
  const Tensor& tensor = at(name);
  const int64_t rows = tensor.info.shape.size() == 2 ? tensor.info.shape[0] : 1;
  if (rows == 0) return;
  ECHELON_CHECK(first_row >= 0 && first_row <= rows && num_rows >= 0 && num_rows <= rows - first_row,
                "rows {} + {} of {}", first_row, num_rows, rows);
  const uint64_t row_bytes = tensor.info.num_bytes / static_cast<uint64_t>(rows);
  const auto begin = static_cast<uint64_t>(tensor.data.data() - tensor.file->bytes().data());
  tensor.file->advise_sequential(begin + static_cast<uint64_t>(first_row) * row_bytes,
                                 static_cast<uint64_t>(num_rows) * row_bytes);
}

void WeightFile::drop_pages() const {
  const MappedFile* last = nullptr;
  for (const Tensor& tensor : tensors_) {
    if (tensor.file.get() == last) continue;
    last = tensor.file.get();
    last->advise_done(0, last->bytes().size());
  }
}

}  // namespace echelon
