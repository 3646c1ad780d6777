// Reads every value of every tensor that can be read, as a loader would.
#pragma once

#include <vector>

#include "engine/weights/weight_file.h"

namespace echelon {

inline void read_tensors(const WeightFile& weights) {
  for (const auto& tensor : weights.tensors()) {
    if (tensor.info.type == TensorType::unreadable || tensor.info.num_bytes == 0) continue;
    if (tensor.info.shape.size() == 1) {
      weights.vector(tensor.info.name);
    } else if (tensor.info.shape.size() == 2) {
      const auto matrix = weights.matrix(tensor.info.name);
      std::vector<float> row(static_cast<size_t>(matrix->cols()));
      for (int64_t r = 0; r < matrix->rows(); ++r) matrix->read_floats(r, 0, row);
    }
  }
}

}  // namespace echelon
