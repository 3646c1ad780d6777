// From the MODEL of a command line to files: a GGUF file, a Hugging Face folder, or a name in a Hugging Face cache
// folder. Looks at the file system and the environment only; nothing is fetched.
#pragma once

#include <string>

namespace echelon {

enum class ModelKind { gguf, hugging_face };

struct ModelPath {
  ModelKind kind = ModelKind::gguf;
  std::string path;  ///< the (first) GGUF file, or the folder that holds config.json
};

/// MODEL is tried as a file (GGUF by its first bytes), as a folder (config.json inside, or one GGUF model), and as a
/// name "org/name" under $HF_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub and ~/.cache/huggingface/hub, in
/// the snapshot that refs/main names. Throws Error(Part::weights) that lists what was tried.
ModelPath resolve_model_path(const std::string& model);

}  // namespace echelon
