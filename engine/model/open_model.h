// From the MODEL of a command line to sizes, names and an open file of tensors. Reads headers only.
#pragma once

#include <memory>
#include <string>

#include "engine/model/stage_weights.h"
#include "engine/weights/gguf.h"
#include "engine/weights/model_path.h"

namespace echelon {

struct OpenModel {
  ModelPath path;
  ModelFiles files;
  std::shared_ptr<const GgufFile> gguf;  ///< null for a Hugging Face folder
  std::vector<float> rope_factors;       ///< from the file; empty: none
};

/// Throws Error(Part::weights or Part::model) that names file and field.
OpenModel open_model(const std::string& model);

}  // namespace echelon
