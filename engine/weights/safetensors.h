// A reader of one safetensors file (the format: huggingface/safetensors, README "Format"): u64 header size, JSON
// header, data. Types, shapes and offsets are checked against the file; tensors cover the data exactly, without overlap
// or hole.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/weights/mapped_file.h"
#include "engine/weights/tensor_type.h"

namespace echelon {

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 16 << 20;
inline constexpr size_t kMaxSafetensorsTensors = 1 << 18;
inline constexpr size_t kMaxSafetensorsDimensions = 8;

struct SafetensorsTensor {
  std::string name;
  TensorType type = TensorType::f32;  ///< unreadable for types other than F32, F16 and BF16
  std::string type_name;              ///< as the file says it
  std::vector<int64_t> shape;         ///< row-major, outermost first
  uint64_t offset = 0;                ///< from the start of the file
  uint64_t num_bytes = 0;
};

/// Immutable; safe from several threads.
class SafetensorsFile {
 public:
  /// Throws Error(Part::weights) with the file, the tensor and what is wrong.
  static std::shared_ptr<const SafetensorsFile> open(const std::string& path);

  const std::shared_ptr<const MappedFile>& map() const { return map_; }
  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }  ///< in the order of their data

 private:
  SafetensorsFile() = default;
  std::shared_ptr<const MappedFile> map_;
  std::vector<SafetensorsTensor> tensors_;
};

}  // namespace echelon
