// The tensors of a model by name, whatever the format: GGUF (split files too) or a Hugging Face folder of safetensors.
// Names are the file's own; engine/model knows which name plays which role.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/weights/gguf.h"
#include "engine/weights/mapped_file.h"
#include "engine/weights/tensor_type.h"
#include "kernels/matrix_source.h"

namespace echelon {

struct TensorInfo {
  std::string name;
  TensorType type = TensorType::f32;
  std::string type_name;       ///< as the file says it: "Q4_1", "BF16", "I64"
  std::vector<int64_t> shape;  ///< row-major: [out, in] for a linear layer, [vocabulary, width] for an embedding
  uint64_t num_bytes = 0;
};

/// Immutable; safe from several threads. A matrix it hands out shares the ownership of the mapped file and outlives
/// this.
class WeightFile {
 public:
  struct Tensor {
    TensorInfo info;
    std::shared_ptr<const MappedFile> file;
    std::span<const std::byte> data;  ///< inside file->bytes(), info.num_bytes long
  };

  /// `path` is for messages. Tensor names must differ (the readers see to it).
  WeightFile(std::string path, std::vector<Tensor> tensors);

  const std::string& path() const { return path_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }  ///< in file order
  const TensorInfo* find(std::string_view name) const;             ///< null when absent
  bool has(std::string_view name) const { return find(name) != nullptr; }
  uint64_t num_bytes() const;  ///< of all tensors

  /// A tensor of two dimensions [rows, cols], not read yet. Throws Error(Part::weights) with tensor, file and what is
  /// wrong: absent, an unreadable type, another number of dimensions, or a shape other than the one expected.
  std::shared_ptr<const MatrixSource> matrix(std::string_view name) const;
  std::shared_ptr<const MatrixSource> matrix(std::string_view name, int64_t rows, int64_t cols) const;

  /// All values of a tensor of one dimension. Throws as matrix() does.
  std::vector<float> vector(std::string_view name) const;
  std::vector<float> vector(std::string_view name, int64_t size) const;

  /// Asks the kernel to read the bytes of these rows ahead, in order; a hint.
  void read_ahead(std::string_view name, int64_t first_row, int64_t num_rows) const;
  /// Gives back this process's pages of the files; what is read later comes from the page cache again.
  void drop_pages() const;

 private:
  const Tensor& at(std::string_view name) const;
  [[noreturn]] void wrong_shape(const Tensor& tensor, const std::string& expected) const;

  std::string path_;
  std::vector<Tensor> tensors_;
  std::unordered_map<std::string_view, size_t> index_;
};

inline constexpr uint64_t kMaxGgufParts = 1024;

/// Opens a GGUF file; given the first part of a split one (NAME-00001-of-00003.gguf), all parts. The metadata is the
/// first part's: open it once with GgufFile::open and hand it in. Throws Error(Part::weights).
std::shared_ptr<const WeightFile> open_gguf(std::shared_ptr<const GgufFile> first);
std::shared_ptr<const WeightFile> open_gguf(const std::string& path);

/// Opens FOLDER/model.safetensors, or the shards that FOLDER/model.safetensors.index.json lists. Throws
/// Error(Part::weights).
std::shared_ptr<const WeightFile> open_hugging_face(const std::string& folder);

}  // namespace echelon
