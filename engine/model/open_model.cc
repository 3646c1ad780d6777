#include "engine/model/open_model.h"

#include "engine/weights/json_file.h"

namespace echelon {

OpenModel open_model(const std::string& model) {
  OpenModel open;
  open.path = resolve_model_path(model);
  if (open.path.kind == ModelKind::gguf) {
    open.gguf = GgufFile::open(open.path.path);
    open.files.spec = model_spec_from_gguf(*open.gguf);
    open.files.names = gguf_weight_names(open.files.spec.family);
    open.files.weights = open_gguf(open.gguf);
  } else {
    open.files.spec = model_spec_from_config(read_json_file(open.path.path + "/config.json"));
    open.files.names = hugging_face_weight_names(open.files.spec.family);
    open.files.weights = open_hugging_face(open.path.path);
  }
  const std::string& factors = open.files.names.rope_factors;
  if (!factors.empty() && open.files.weights->has(factors)) {
    open.rope_factors = open.files.weights->vector(factors, open.files.spec.head_dim / 2);
  }
  return open;
}

}  // namespace echelon
