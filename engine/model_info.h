// What the front end is told of a model: from the open files and the options.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "engine/engine_options.h"
#include "engine/model/open_model.h"

namespace echelon {

/// Reads the text side (text_model.h); its warnings go to the log. Throws Error for a tokenizer or template that cannot
/// belong to the weights.
std::shared_ptr<ModelInfo> make_model_info(const EngineOptions& options, const OpenModel& open);

}  // namespace echelon
