// The small JSON bodies: errors, the list of models, health, version.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "engine/engine.h"

namespace echelon {

/// {"error": {"message", "type", "param", "code"}}
boost::json::object error_body(const RequestError& error);
boost::json::object model_card(const ModelInfo& model);
boost::json::object model_list(const ModelInfo& model);
/// {"status": "ok" or the engine's state, "reason"}
boost::json::object health_body(EngineState state, std::string_view reason);
std::string_view state_name(EngineState state);

}  // namespace echelon
